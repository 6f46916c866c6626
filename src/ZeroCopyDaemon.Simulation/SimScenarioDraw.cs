using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Nic;
using ZeroCopyDaemon.Wires.Sim;

namespace ZeroCopyDaemon.Simulation;

/// <summary>Draws a <see cref="SimScenario"/>. The order of the draws is what a seed means: a change here makes other scenarios of all seeds.</summary>
internal sealed class SimScenarioDraw(ulong seed)
{
    private const long Second = 1_000_000;

    private readonly SimRandom _random = new(seed);

    /// <summary>What was added later is drawn from here, so that the rest of each seed's scenario stays what it was.</summary>
    private readonly SimRandom _more = new(seed ^ 0xA5A5_A5A5);

    /// <summary>And what came after that, from here: how losses are repaired.</summary>
    private readonly SimRandom _repair = new(seed ^ 0x3C3C_9696_C3C3_6969);

    public SimScenario Draw()
    {
        SimWireOptions wire = DrawWire();
        int mtu = _random.Pick(576, 1500, 9000, _random.Between(576, 9000));
        SimHostPlan a = DrawHost(mtu);
        SimHostPlan b = DrawHost(mtu);
        var connections = new SimConnectionPlan[_random.Chance(0.8) ? 1 : _random.Between(2, 4)];
        for (int i = 0; i < connections.Length; i++)
        {
            connections[i] = DrawConnection();
        }

        long startUs = _random.Chance(0.3)
            ? (1L << 32) * _random.Pick(1L, 1000L) - _random.Between(1, 5 * Second)
            : _random.Between(0L, 1L << 40);
        return new SimScenario
        {
            Seed = seed,
            Wire = wire,
            A = a,
            B = b,
            Connections = connections,
            StartUs = Math.Max(startUs, 0),
            BytesToWrap = _random.Chance(0.3) ? (uint)_random.LogBetween(1, 100_000) : 0,

            // No link of IPv6 has a smaller MTU.
            Ipv6 = _more.Chance(0.5) && mtu >= 1280,
        };
    }

    private SimWireOptions DrawWire()
    {
        bool harsh = _random.Chance(0.15);
        long latencyUs = _random.Pick(0L, _random.Between(1L, 100L), _random.Between(100L, 5_000L), _random.Between(5_000L, 150_000L));
        return new SimWireOptions
        {
            Seed = _random.NextUInt64(),
            LatencyUs = latencyUs,
            JitterUs = _random.Chance(0.4) ? _random.Below(latencyUs + 100) : 0,
            BitsPerSecond = _random.Chance(0.3) ? _random.LogBetween(1_000_000, 10_000_000_000) : 0,
            QueueFrames = _random.Chance(0.3) ? _random.Between(4, 64) : 4096,
            Loss = harsh ? 0.1 + (_random.NextDouble() * 0.1) : Sometimes(0.6, 0.1),
            Duplication = Sometimes(0.5, 0.1),
            Reordering = Sometimes(0.5, 0.2),
            ReorderUs = _random.LogBetween(10, 50_000),
            Corruption = Sometimes(0.5, 0.05),
        };
    }

    private SimHostPlan DrawHost(int mtu)
    {
        int pageSize = _random.Pick(2048, 4096, 4096, 16384, 65536);
        int pagesPerFrame = (mtu + 18 + pageSize - 1) / pageSize;
        int queues = _random.Pick(1, 1, 1, 2, 4);
        int ring = 1 << _random.Between(4, _random.Chance(0.3) ? 8 : 6);
        while (ring < 2 * pagesPerFrame)
        {
            ring *= 2;
        }

        // A few frames' worth at least, up to far more than the bytes that are sent.
        int frameTruesize = pagesPerFrame * pageSize;
        long quota = _random.Chance(0.25)
            ? frameTruesize * (long)_random.Between(2, 4)
            : _random.LogBetween(frameTruesize * 2L, 4 << 20);
        long extra = _random.Chance(0.2) ? _random.Between(2, 8) * pagesPerFrame : _random.LogBetween(16, Math.Max(32, (4 << 20) / pageSize));
        bool txChecksum = _random.Chance(0.7);
        bool fast = _random.Chance(0.6);
        return new SimHostPlan
        {
            Pool = new PoolGeometry(pageSize, (int)((ring * queues * 5 / 4) + 1 + extra)),
            PollBudget = _random.Pick(1, 4, 64),
            LoopUs = _random.Chance(0.3) ? _random.LogBetween(10, 20_000) : 0,
            Nic = new NicOptions
            {
                Mtu = mtu,
                Placement = _random.Pick(Placement.None, Placement.Split, Placement.Packed, Placement.Merge),
                MergeContexts = _more.Pick(1, 2, 16),
                MergeFlushUs = (int)_more.LogBetween(1, 100_000),
                RxChecksumOffload = _random.Chance(0.6),
                TxChecksumOffload = txChecksum,
                Tso = _random.Chance(0.6),
                RxQueues = queues,
                RxRingSize = ring,
                TxRingSize = 1 << _random.Between(2, 8),
                RxUsecs = fast ? 0 : _random.Between(1, 500),
                RxFrames = fast ? 1 : _random.Between(1, 64),
            },
            Tcp = new TcpOptions
            {
                WindowScaling = _random.Chance(0.7),
                Timestamps = _random.Chance(0.7),
                Sack = _repair.Chance(0.8),
                ReceiveQuotaBytes = quota,
                MaxReceiveWindow = _random.Chance(0.7) ? 4 << 20 : (int)_random.LogBetween(1000, 1 << 20),
                MaxOutOfOrderFragments = _random.Pick(1024, 1024, 64, 4),
                MaxSendItems = _random.Pick(1024, 256, 4),
                Nagle = _random.Chance(0.3),
                DelayedAckUs = _random.Pick(0L, 1_000L, 40_000L, 200_000L),
                MinRtoUs = _random.Pick(200_000L, 1_000_000L),
                InitialWindowSegments = _random.Pick(10, 10, 2, 1),

                // The wire may be bad enough for an unlucky connection to be given up by rights; that is not what is looked for here.
                MaxSynRetransmissions = 20,
                MaxSynAckRetransmissions = 20,
                MaxRetransmissions = 30,
                TimeWaitUs = 240 * Second,
                FinWait2Us = 86_400 * Second,
            },
        };
    }

    private SimConnectionPlan DrawConnection()
    {
        SimClose close = _random.Chance(0.07)
            ? _random.Pick(SimClose.AbortByA, SimClose.AbortByB)
            : (SimClose)_random.Between((int)SimClose.HalfCloseEach, (int)SimClose.Simultaneous);
        SimEndPlan a = DrawEnd();
        SimEndPlan b = DrawEnd();
        if (_random.Chance(0.3))
        {
            b = b with { Echo = true, SendBytes = a.SendBytes };
        }

        return new SimConnectionPlan
        {
            Open = _random.Pick(SimOpen.ByA, SimOpen.ByA, SimOpen.ByB, SimOpen.Simultaneous),
            Close = close,
            AbortAfterBytes = _random.Below(64 << 10),
            A = a,
            B = b,
        };
    }

    private SimEndPlan DrawEnd()
    {
        bool slow = _random.Chance(0.2);
        return new SimEndPlan
        {
            SendBytes = (64 << 10) + _random.LogBetween(1, 256 << 10),
            MaxWriteBytes = (int)_random.LogBetween(16, 64 << 10),
            WritePauseUs = _random.Chance(0.2) ? _random.LogBetween(1, 20_000) : 0,
            TxMemoryBytes = (int)_random.LogBetween(2 << 10, 512 << 10),
            MaxReadBytes = (int)_random.LogBetween(64, 256 << 10),
            MaxReadFragments = (int)_random.LogBetween(1, 64),
            ReadPauseUs = slow ? _random.LogBetween(1_000, 500_000) : 0,
            HoldUs = _random.Chance(0.3) ? _random.LogBetween(1, 100_000) : 0,
        };
    }

    private double Sometimes(double often, double most) => _random.Chance(often) ? _random.NextDouble() * most : 0;
}
