using ZeroCopyDaemon.Net;
using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Net.Ip;
using ZeroCopyDaemon.Net.Tcp;
using static ZeroCopyDaemon.Net.Tcp.TcpFlags;

namespace ZeroCopyDaemon.UnitTests;

public sealed class TcpHandshakeTests
{
    [Fact]
    public void A_passive_open_goes_by_SYN_RECEIVED_to_ESTABLISHED_and_is_announced_once()
    {
        using var bench = new TcpBench();
        TcpListener listener = bench.Listen();
        bench.Given(Syn, 0);
        SentSegment answer = bench.Expect(Syn | Ack, 0, 1);
        Assert.Equal(65535, answer.Window);
        Assert.Equal(1, listener.HalfOpen);
        Assert.Equal(TcpEvents.None, bench.TakeEvents());
        bench.Given(Ack, 1, 1);
        bench.ExpectNothing();
        Assert.Equal((0, 1), (listener.HalfOpen, listener.AcceptQueueLength));
        Assert.Equal(TcpEvents.Accepted, bench.TakeEvents());
        Assert.Equal((TcpState.Established, listener, TcpBench.Local, TcpBench.Peer), (bench.Connection.State, bench.Connection.Listener, bench.Connection.Local, bench.Connection.Remote));
        listener.MarkAccepted(bench.Connection);
        listener.MarkAccepted(bench.Connection);
        Assert.Equal(0, listener.AcceptQueueLength);
        Assert.Equal((1, 1), (bench.Tcp.Counters.PassiveOpens, bench.Tcp.Counters.CurrEstab));
    }

    [Fact]
    public void An_active_open_sends_SYN_and_acknowledges_the_answer()
    {
        using var bench = new TcpBench();
        bench.Connect();
        Assert.Equal((TcpState.Established, 1L), (bench.Connection.State, bench.Tcp.Counters.ActiveOpens));
        Assert.Null(bench.Connection.Listener);
        Assert.Equal(1000, bench.Connection.GetInfo(bench.NowUs).Mss);
    }

    [Fact]
    public void Text_that_comes_with_the_handshakes_last_segment_is_taken_in()
    {
        using var bench = new TcpBench();
        bench.Listen();
        bench.Given(Syn, 0);
        bench.Expect(Syn | Ack, 0, 1);
        bench.Given(Ack | Fin, 1, 1, length: 100);
        bench.Expect(Ack, 1, 102);
        Assert.Equal(TcpEvents.Accepted | TcpEvents.Readable | TcpEvents.PeerClosed, bench.TakeEvents());
        Assert.Equal([100], bench.Receive());
    }

    [Fact]
    public void Text_that_comes_with_SYN_ACK_is_taken_in()
    {
        using var bench = new TcpBench();
        Dial(bench);
        bench.Tcp.OnSegment(
            new TcpSegment
            {
                Source = TcpBench.Peer, Destination = TcpBench.Local, Seq = new SeqNumber(bench.Irs), Ack = new SeqNumber(bench.Iss + 1), Flags = Syn | Ack | Fin, Window = 1000,
                Options = TcpBench.SynOptions(), Payload = TestFrames.Chain(bench.Pool, [TcpBench.PeerByte(0), TcpBench.PeerByte(1)]), PayloadLength = 2,
            },
            bench.NowUs);
        bench.Poll();
        bench.Expect(Ack, 1, 4);
        Assert.Equal(TcpEvents.Connected | TcpEvents.Readable | TcpEvents.PeerClosed, bench.TakeEvents());
        Assert.Equal([2], bench.Receive());
    }

    [Fact]
    public void Without_options_a_peer_takes_536_bytes_and_windows_are_not_scaled()
    {
        using var bench = new TcpBench(tcp => tcp with { Timestamps = true, WindowScaling = true });
        bench.Listen();
        bench.Given(Syn, 0);
        SentSegment answer = bench.Expect(Syn | Ack, 0, 1);
        Assert.Equal((1460, -1, false), (answer.Options.Mss, answer.Options.WindowScale, answer.Options.HasTimestamp));
        bench.Given(Ack, 1, 1);
        bench.TakeEvents();
        bench.Send(2000);
        bench.Expect(Ack, 1, 1, 536);
        bench.Expect(Ack, 537, 1, 536);
        Assert.Equal((536, 0, 0, false), Negotiated(bench));
    }

    [Fact]
    public void Options_are_offered_in_an_active_open()
    {
        using var bench = new TcpBench(tcp => tcp with { Timestamps = true, WindowScaling = true, MaxReceiveWindow = 1 << 20 });
        bench.Tcp.Connect(TcpBench.Local, TcpBench.Peer, bench.NowUs, null);
        bench.Poll();
        SentSegment syn = bench.Expect(Syn, 0);
        Assert.Equal((1460, 5, true), (syn.Options.Mss, syn.Options.WindowScale, syn.Options.HasTimestamp));
        Assert.Equal(0u, syn.Options.TimestampEcho);
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public void An_option_holds_only_if_both_ends_have_it(bool ours, bool theirs)
    {
        using var bench = new TcpBench(tcp => tcp with { Timestamps = ours, WindowScaling = ours });
        bench.PeerTimestamps = theirs;
        bench.Listen();
        bench.Given(Syn, 0, options: TcpBench.SynOptions(1000, (sbyte)(theirs ? 7 : -1)));
        SentSegment answer = bench.Expect(Syn | Ack, 0, 1);
        bool both = ours && theirs;
        Assert.Equal((both ? 7 : -1, both), (answer.Options.WindowScale, answer.Options.HasTimestamp));
        bench.Given(Ack, 1, 1, window: 1000);
        bench.TakeEvents();
        Assert.Equal((both ? 988 : 1000, both ? 7 : 0, both ? 7 : 0, both), Negotiated(bench));
        Assert.Equal(both ? 128_000 : 1000, bench.Connection.GetInfo(bench.NowUs).SndWnd);
        bench.Send(1, poll: false);
        bench.Poll();
        SentSegment data = bench.Expect(Ack, 1, 1, 1);
        Assert.Equal(both, data.Options.HasTimestamp);
    }

    [Fact]
    public void The_window_in_a_SYN_is_not_scaled_by_either_side()
    {
        using var bench = new TcpBench(tcp => tcp with { WindowScaling = true });
        TcpConnection connection = Dial(bench);
        bench.Given(Syn | Ack, 0, 1, options: TcpBench.SynOptions(1000, 4), window: 9000);
        SentSegment first = bench.Expect(Ack, 1, 1);
        Assert.Equal(9000, connection.GetInfo(bench.NowUs).SndWnd);
        Assert.True(first.Window << 7 > 65535);
    }

    [Fact]
    public void A_tiny_MSS_is_raised_so_that_headers_do_not_eat_the_link()
    {
        using var bench = new TcpBench();
        bench.Accept(mss: 1);
        Assert.Equal(48, bench.Connection.GetInfo(bench.NowUs).Mss);
    }

    [Fact]
    public void The_MSS_is_no_longer_than_the_device_allows()
    {
        using var bench = new TcpBench { Mtu = 576 };
        bench.Accept(mss: 9000);
        bench.Send(1000);
        bench.Expect(Ack, 1, 1, 536);
    }

    [Fact]
    public void SYN_ACK_is_sent_again_with_backoff_and_given_up_without_a_word()
    {
        using var bench = new TcpBench(tcp => tcp with { MaxSynAckRetransmissions = 3 });
        bench.Listen();
        bench.Given(Syn, 0);
        bench.Expect(Syn | Ack, 0, 1);
        foreach (long expectedMs in new long[] { 1000, 2000, 4000 })
        {
            Assert.Equal(expectedMs * 1000, bench.AdvanceToNextSegment());
            bench.Expect(Syn | Ack, 0, 1);
        }

        bench.AdvanceMs(8_000);
        bench.ExpectNothing();
        bench.AssertClean();
        bench.Given(Ack, 1, 1);
        bench.Expect(Rst, 1);
    }

    [Fact]
    public void SYN_is_sent_again_for_three_minutes_and_then_fails()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        long start = bench.NowUs;
        long[] expected = [1, 2, 4, 8, 16, 32, 60];
        foreach (long seconds in expected)
        {
            Assert.Equal(seconds * 1_000_000, bench.AdvanceToNextSegment());
            bench.Expect(Syn, 0);
        }

        bench.AdvanceMs(60_000);
        bench.ExpectNothing();
        Assert.Equal(TcpEvents.Failed | TcpEvents.Closed, bench.TakeEventsOf(connection));
        Assert.Equal(TcpError.TimedOut, connection.Error);
        Assert.True(bench.NowUs - start >= 180_000_000);
        bench.AssertClean();
    }

    [Fact]
    public void A_repeated_SYN_gets_the_answer_again_and_spoils_no_measurement()
    {
        using var bench = new TcpBench();
        bench.Listen();
        bench.Given(Syn, 0);
        bench.Expect(Syn | Ack, 0, 1);
        bench.AdvanceMs(900);
        bench.Given(Syn, 0);
        bench.Expect(Syn | Ack, 0, 1);
        bench.AdvanceMs(10);
        bench.Given(Ack, 1, 1);
        bench.TakeEvents();
        Assert.Equal(0, bench.Connection.GetInfo(bench.NowUs).RttUs);
    }

    [Fact]
    public void A_lost_SYN_means_an_initial_window_of_one_segment_and_an_RTO_of_three_seconds()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        bench.AdvanceToNextSegment();
        bench.Expect(Syn, 0);
        bench.Given(Syn | Ack, 0, 1, options: TcpBench.SynOptions());
        bench.Expect(Ack, 1, 1);
        TcpInfo info = connection.GetInfo(bench.NowUs);
        Assert.Equal((1000, 3_000_000), (info.CwndBytes, info.RtoUs));
    }

    [Fact]
    public void RST_refuses_an_active_open_but_only_with_the_right_acknowledgment()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        bench.Given(Rst, 0);
        bench.Given(Rst | Ack, 0, 2);
        bench.Given(Rst | Ack, 0, 0);
        Assert.Equal(TcpState.SynSent, connection.State);
        bench.ExpectNothing();
        bench.Given(Rst | Ack, 0, 1);
        Assert.Equal(TcpEvents.Failed | TcpEvents.Closed, bench.TakeEventsOf(connection));
        Assert.Equal(TcpError.ConnectionRefused, connection.Error);
        bench.ExpectNothing();
        bench.AssertClean();
    }

    [Fact]
    public void A_wrong_acknowledgment_in_SYN_SENT_is_answered_by_RST_with_its_number()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        bench.Given(Syn | Ack, 0, 2);
        bench.Expect(Rst, 2);
        bench.Given(Ack, 0, 900);
        bench.Expect(Rst, 900);
        Assert.Equal(TcpState.SynSent, connection.State);
        bench.Given(Ack, 1, 1);
        bench.ExpectNothing();
        Assert.Equal(TcpState.SynSent, connection.State);
    }

    [Fact]
    public void In_SYN_RECEIVED_a_wrong_acknowledgment_is_answered_by_RST_and_RST_means_back_to_LISTEN()
    {
        using var bench = new TcpBench();
        bench.Listen();
        bench.Given(Syn, 0);
        bench.Expect(Syn | Ack, 0, 1);
        bench.Given(Ack, 1, 0);
        bench.Expect(Rst, 0);
        bench.Given(Ack, 1, 77);
        bench.Expect(Rst, 77);
        bench.Given(Rst, 2);
        bench.Expect(Ack, 1, 1);
        Assert.Equal(1, bench.Listener!.HalfOpen);
        bench.Given(Rst, 1);
        bench.ExpectNothing();
        bench.AssertClean();
        Assert.Equal(1, bench.Tcp.Counters.AttemptFails);
    }

    [Fact]
    public void In_SYN_RECEIVED_a_new_SYN_within_the_window_means_back_to_LISTEN_and_one_outside_is_acknowledged()
    {
        using var bench = new TcpBench();
        bench.Listen();
        bench.Given(Syn, 0);
        bench.Expect(Syn | Ack, 0, 1);
        bench.Given(Syn, -5000);
        bench.Expect(Ack, 1, 1);
        Assert.Equal(1, bench.Listener!.HalfOpen);
        bench.Given(Syn, 5000);
        bench.ExpectNothing();
        bench.AssertClean();
    }

    [Fact]
    public void Both_ends_may_open_at_once()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        bench.Given(Syn, 0, options: TcpBench.SynOptions());
        Assert.Equal(TcpState.SynReceived, connection.State);
        bench.Expect(Syn | Ack, 0, 1);
        bench.Given(Syn | Ack, 0, 1);
        Assert.Equal(TcpState.Established, connection.State);
        Assert.Equal(TcpEvents.Connected, bench.TakeEventsOf(connection));
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1, length: 10);
        bench.Expect(Ack, 1, 11);
    }

    [Fact]
    public void In_a_simultaneous_open_the_window_of_the_repeated_SYN_is_not_scaled()
    {
        using var bench = new TcpBench(tcp => tcp with { WindowScaling = true });
        TcpConnection connection = Dial(bench);
        bench.Given(Syn, 0, options: TcpBench.SynOptions(1000, 3), window: 8000);
        bench.TakeSent();
        bench.Given(Syn | Ack, 0, 1, options: TcpBench.SynOptions(1000, 3), window: 8000);
        Assert.Equal(8000, connection.GetInfo(bench.NowUs).SndWnd);
        bench.Given(Ack, 1, 1, window: 8000);
        Assert.Equal(64_000, connection.GetInfo(bench.NowUs).SndWnd);
    }

    [Fact]
    public void A_simultaneous_open_can_be_refused()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        bench.Given(Syn, 0);
        bench.TakeSent();
        bench.Given(Rst, 1, 1);
        Assert.Equal(TcpEvents.Failed | TcpEvents.Closed, bench.TakeEventsOf(connection));
        Assert.Equal(TcpError.ConnectionRefused, connection.Error);
    }

    [Fact]
    public void Closing_in_SYN_SENT_ends_it_without_a_word()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        connection.Close(bench.NowUs);
        bench.Poll();
        bench.ExpectNothing();
        Assert.Equal(TcpEvents.Closed, bench.TakeEventsOf(connection));
        bench.AssertClean();
    }

    [Fact]
    public void Closing_in_SYN_RECEIVED_after_a_simultaneous_open_sends_FIN_once_established()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        bench.Given(Syn, 0);
        bench.Expect(Syn | Ack, 0, 1);
        connection.Close(bench.NowUs);
        bench.Poll();
        bench.ExpectNothing();
        bench.Given(Ack, 1, 1);
        bench.Expect(Fin | Ack, 1, 1);
        Assert.Equal(TcpState.FinWait1, connection.State);
    }

    [Fact]
    public void Data_queued_before_the_connection_is_established_is_sent_then()
    {
        using var bench = new TcpBench();
        TcpConnection connection = Dial(bench);
        Assert.True(bench.Queue(100));
        bench.Poll();
        bench.ExpectNothing();
        bench.Given(Syn | Ack, 0, 1, options: TcpBench.SynOptions());
        bench.Expect(Ack, 1, 1, 100);
        bench.ExpectNothing();
        Assert.Equal(connection, bench.Connection);
    }

    [Fact]
    public void Segments_for_nobody_are_answered_by_RST_as_the_RFC_says()
    {
        using var bench = new TcpBench();
        bench.Listen();
        bench.Given(Ack, 5, 1234);
        bench.Expect(Rst, 1234);
        bench.Given(Syn | Ack, 5, 1234);
        bench.Expect(Rst, 1234);
        bench.Given(Rst, 5);

        // Neither SYN nor ACK: a listener drops it unanswered (RFC 9293 section 3.10.7.2), a closed port doesn't.
        bench.Given(Fin, 5, length: 10);
        bench.ExpectNothing();
        Assert.Equal(1, bench.Drops[DropReason.TCP_FLAGS]);
        bench.Listener!.Close(bench.NowUs);
        bench.Given(Fin, 5, length: 10);
        bench.Expect(Rst | Ack, 0, 16);
        bench.Given(Syn, 5, length: 10);
        bench.Expect(Rst | Ack, 0, 16);
        bench.ExpectNothing();
        Assert.Equal(4, bench.Drops[DropReason.NO_SOCKET]);
        bench.AssertClean();
    }

    [Fact]
    public void Closing_a_listener_resets_what_is_half_open_and_leaves_the_rest()
    {
        using var bench = new TcpBench();
        bench.Accept();
        TcpConnection accepted = bench.Connection;
        bench.Given(Syn, 0, from: TcpBench.Peer with { Port = 4001 });
        bench.TakeSent();
        bench.Listener!.Close(bench.NowUs);
        bench.Listener.Close(bench.NowUs);
        bench.Poll();
        SentSegment reset = Assert.Single(bench.TakeSent());
        Assert.Equal((Rst | Ack, (ushort)4001), (reset.Flags, reset.To.Port));
        Assert.Equal(TcpState.Established, accepted.State);
        Assert.Equal((0, 1), (bench.Listener.HalfOpen, bench.Tcp.ConnectionCount));
        Assert.NotNull(bench.Tcp.Listen(TcpBench.Local, 1, null));
    }

    [Fact]
    public void An_endpoint_has_one_listener()
    {
        using var bench = new TcpBench();
        bench.Listen();
        Assert.Throws<InvalidOperationException>(() => bench.Tcp.Listen(TcpBench.Local, 1, null));
        Assert.NotNull(bench.Tcp.Listen(new IpEndpoint(IpAddress.Any, 80), 1, null));
    }

    [Fact]
    public void A_four_tuple_has_one_connection_and_ephemeral_ports_differ()
    {
        using var bench = new TcpBench();
        Assert.NotNull(bench.Tcp.Connect(TcpBench.Local, TcpBench.Peer, bench.NowUs, null));
        Assert.Null(bench.Tcp.Connect(TcpBench.Local, TcpBench.Peer, bench.NowUs, null));
        var ports = new HashSet<ushort>();
        for (int i = 0; i < 500; i++)
        {
            TcpConnection connection = bench.Tcp.Connect(default, TcpBench.Peer, bench.NowUs, null)!;
            Assert.Equal(TcpBench.Local.Address, connection.Local.Address);
            Assert.InRange(connection.Local.Port, 32768, 60999);
            Assert.True(ports.Add(connection.Local.Port));
        }
    }

    [Fact]
    public void A_host_without_a_route_is_unreachable_at_once()
    {
        using var bench = new TcpBench { Answer = IpSendResult.Unreachable };
        TcpConnection connection = bench.Tcp.Connect(TcpBench.Local, TcpBench.Peer, bench.NowUs, null)!;
        bench.Poll();
        Assert.Equal(TcpEvents.Failed | TcpEvents.Closed, bench.TakeEventsOf(connection));
        Assert.Equal(TcpError.HostUnreachable, connection.Error);
        bench.AssertClean();
    }

    [Fact]
    public void SYN_waits_for_the_neighbour_and_goes_once_it_is_known()
    {
        using var bench = new TcpBench { Answer = IpSendResult.AwaitingNeighbor };
        TcpConnection connection = bench.Tcp.Connect(TcpBench.Local, TcpBench.Peer, bench.NowUs, null)!;
        bench.Poll();
        Assert.False(bench.Tcp.HasPendingOutput);
        bench.AdvanceMs(300);
        bench.Answer = IpSendResult.Sent;
        bench.Tcp.OnNeighborResolved(TcpBench.Peer.Address, bench.NowUs);
        bench.Poll();
        bench.Expect(Syn, 0);
        bench.Given(Syn | Ack, 0, 1);
        Assert.Equal(10, connection.GetInfo(bench.NowUs).CwndBytes / 536);
    }

    [Fact]
    public void A_neighbour_that_does_not_answer_is_an_unreachable_host()
    {
        using var bench = new TcpBench { Answer = IpSendResult.AwaitingNeighbor };
        TcpConnection connection = bench.Tcp.Connect(TcpBench.Local, TcpBench.Peer, bench.NowUs, null)!;
        bench.Poll();
        bench.Tcp.OnNeighborFailed(TcpBench.Peer.Address, bench.NowUs);
        Assert.Equal(TcpEvents.Failed | TcpEvents.Closed, bench.TakeEventsOf(connection));
        Assert.Equal(TcpError.HostUnreachable, connection.Error);
        bench.AssertClean();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_half_open_connection_whose_answer_can_not_be_sent_is_given_up_in_its_time(bool awaiting)
    {
        using var bench = new TcpBench { Answer = awaiting ? IpSendResult.AwaitingNeighbor : IpSendResult.Unreachable };
        bench.Listen();
        bench.Given(Syn, 0);
        Assert.Equal(1, bench.Listener!.HalfOpen);
        bench.AdvanceMs(200_000);
        bench.AssertClean();
    }

    [Fact]
    public void Sequence_numbers_of_a_handshake_may_wrap()
    {
        using var bench = new TcpBench(irs: uint.MaxValue);
        bench.Accept();
        bench.Given(Ack, 1, 1, length: 10);
        bench.Expect(Ack, 1, 11);
        Assert.Equal([10], bench.Receive());
    }

    private static TcpConnection Dial(TcpBench bench)
    {
        TcpConnection connection = bench.Open();
        bench.Expect(Syn, 0);
        return connection;
    }

    private static (int Mss, int SendScale, int ReceiveScale, bool Timestamps) Negotiated(TcpBench bench)
    {
        TcpInfo info = bench.Connection.GetInfo(bench.NowUs);
        return (info.Mss, info.SendScale, info.ReceiveScale, info.Timestamps);
    }
}
