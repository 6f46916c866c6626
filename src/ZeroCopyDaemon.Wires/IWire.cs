using ZeroCopyDaemon.Memory.Counters;
using ZeroCopyDaemon.Memory.Doorbells;
using ZeroCopyDaemon.Memory.Pages;
using ZeroCopyDaemon.Net.Devices;
using ZeroCopyDaemon.Nic;

namespace ZeroCopyDaemon.Wires;

/// <summary>
/// What frames come in on and leave by, as the kernel host sees it. A wire runs on the host's loop thread: <see cref="Poll"/> in each turn of the loop, <see cref="OnReady"/> for each
/// of its descriptors that became ready, never from anywhere else. Its own <see cref="IWirePort.TryCarry"/> takes what the host's NIC transmits.
/// <para>The wire owns every descriptor and all memory it uses; <see cref="IDisposable.Dispose"/>, on the loop thread, closes and frees them.</para>
/// </summary>
public interface IWire : IWirePort, ICounterSource, IDisposable
{
    /// <summary>As in <c>--wire</c>.</summary>
    string Name { get; }

    /// <summary>Plugs the wire into the kernel's NIC; called once, on the loop thread, before anything else.</summary>
    /// <param name="nic">The NIC: the wire becomes its <see cref="NicModel.Wire"/> and calls <see cref="NicModel.ReceiveFromWire"/>.</param>
    /// <param name="poll">Where the wire adds its descriptors; null = nobody watches them, and the wire looks at each of them in every <see cref="Poll"/>.</param>
    /// <param name="firstToken">The wire's descriptors have tokens from this one on, without an upper bound.</param>
    void Attach(NicModel nic, PollSet? poll, int firstToken);

    /// <summary>Brings frames to the NIC and works on what came out of it. Returns the amount of work done (0 = idle).</summary>
    int Poll(long nowUs);

    /// <summary>When <see cref="Poll"/> must be called next, in microseconds; <see cref="long.MaxValue"/> = not before something happens.</summary>
    long NextDeadlineUs { get; }

    /// <summary>A descriptor with a token of this wire is ready. Only notes it: the work is done by the next <see cref="Poll"/>.</summary>
    void OnReady(in PollEvent e);

    /// <summary>Work is left: call <see cref="Poll"/> again without sleeping.</summary>
    bool NeedsPoll { get; }

    /// <summary>
    /// Told of what a user should know about the wire: its link went down, its MTU changed. One line, without an end. Called on the loop thread, so it must not block. Set before
    /// <see cref="Attach"/>.
    /// </summary>
    Action<string>? Notice { get; set; }

    /// <summary>
    /// Makes a port of the kernel's reachable for real clients and returns the address that they connect to. Throws <see cref="WireException"/>, with what to change, if that can't be.
    /// </summary>
    string Expose(int kernelPort);

    /// <summary>A second address that leads to an exposed port (IPv6 beside IPv4); empty = none.</summary>
    string AlsoAt(int kernelPort) => "";

    /// <summary>Takes no new clients for a port; those connected stay. Nothing happens if it isn't exposed.</summary>
    void Unexpose(int kernelPort);

    /// <summary>Takes no new clients at all; those connected stay.</summary>
    void StopAccepting();

    /// <summary>Who is behind a peer's endpoint on this wire, if the wire hides that: the real remote endpoint, else an empty text.</summary>
    string RealPeer(Net.Addresses.IpEndpoint remote) => "";

    /// <summary>What the driver hands received frames to. A wire that impairs what comes in puts itself before <paramref name="stack"/>; chains it holds back are its to release.</summary>
    IFrameReceiver Filter(IFrameReceiver stack, PagePool pool) => stack;

    /// <summary>Most pages of the pool that the wire ever holds back, between driver and stack; the kernel keeps as many out of its connections' reach. Known from <see cref="Filter"/> on.</summary>
    int MaxPagesHeld => 0;
}
