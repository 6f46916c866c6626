namespace ZeroCopyDaemon.Nic;

/// <summary>How one RX queue of a NIC stands.</summary>
/// <param name="Queue">Its number.</param>
/// <param name="RingSize">Data pages (and header buffers) that its rings have room for.</param>
/// <param name="PagesPosted">Empty data pages on the ring.</param>
/// <param name="HeaderBuffersPosted">Empty header buffers on the ring.</param>
/// <param name="CompletionQueueSize">Completions that the queue has room for.</param>
/// <param name="CompletionsWaiting">Completions that the driver has not taken yet.</param>
/// <param name="InterruptEnabled">False while the driver polls it.</param>
/// <param name="InterruptDueUs">When its moderated interrupt is due; null = it isn't.</param>
/// <param name="Interrupts">Interrupts raised so far.</param>
/// <param name="RunsLow">Its posted buffers are low (with pause frames, that holds the sender back).</param>
/// <param name="Packets">Frames received.</param>
/// <param name="Bytes">Bytes of the frames received.</param>
public sealed record RxQueueDescription(
    int Queue,
    int RingSize,
    int PagesPosted,
    int HeaderBuffersPosted,
    int CompletionQueueSize,
    int CompletionsWaiting,
    bool InterruptEnabled,
    long? InterruptDueUs,
    long Interrupts,
    bool RunsLow,
    long Packets,
    long Bytes);

/// <summary>How a NIC's TX ring stands.</summary>
/// <param name="RingSize">Frames that it has room for.</param>
/// <param name="Waiting">Frames on it.</param>
/// <param name="Posted">Frames ever posted.</param>
/// <param name="Completed">Frames ever completed.</param>
public sealed record TxRingDescription(int RingSize, int Waiting, long Posted, long Completed);

/// <summary>What received payload makes of the pages that it takes.</summary>
/// <param name="PayloadBytes">Payload handed up.</param>
/// <param name="PageBytes">Bytes of the pages that payload was laid in: each counts whole, once, from its first payload on, however many frames share it.</param>
public sealed record RxPageUse(long PayloadBytes, long PageBytes)
{
    /// <summary>Payload in a hundred bytes of pages; null before there is any. Pages that are still open count as if nothing more came.</summary>
    public double? EfficiencyPercent => PageBytes == 0 ? null : Math.Round(100.0 * PayloadBytes / PageBytes, 2);
}

/// <summary>A snapshot of a NIC for the inspector. Shares nothing with the NIC, so any thread may read it.</summary>
/// <param name="Options">Its settings.</param>
/// <param name="TsoActive">TSO is on and has the checksum offload that it needs.</param>
/// <param name="LinkUp">Link state.</param>
/// <param name="RxPaused">The NIC holds the wire's sender back.</param>
/// <param name="RxQueues">Its RX queues.</param>
/// <param name="Tx">Its TX ring.</param>
/// <param name="IndirectionTable">The RX queue of each of the 128 RSS entries.</param>
/// <param name="RssKey">The Toeplitz key, in hexadecimal.</param>
public sealed record NicDescription(
    NicOptions Options,
    bool TsoActive,
    bool LinkUp,
    bool RxPaused,
    IReadOnlyList<RxQueueDescription> RxQueues,
    TxRingDescription Tx,
    IReadOnlyList<int> IndirectionTable,
    string RssKey)
{
    /// <summary>What its driver says of page use; null without one.</summary>
    public RxPageUse? PageUse { get; init; }
}
