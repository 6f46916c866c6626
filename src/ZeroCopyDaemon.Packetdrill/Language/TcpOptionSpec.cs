using System.Globalization;

namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>The TCP options that a script can name (IANA's numbers).</summary>
internal enum TcpOptionNumber : byte
{
    EndOfList = 0,
    NoOperation = 1,
    MaximumSegmentSize = 2,
    WindowScale = 3,
    SackPermitted = 4,
    Sack = 5,
    Timestamps = 8,
    UserTimeout = 28,
    FastOpen = 34,
    Experimental = 254,
}

/// <summary>One TCP option: its number and its numbers (one for MSS and window scale, two for timestamps, two a block for SACK), or raw bytes.</summary>
internal sealed record TcpOptionSpec(TcpOptionNumber Kind, IReadOnlyList<uint> Values)
{
    /// <summary>Contents of an option that is only bytes to us.</summary>
    public byte[] Raw { get; init; } = [];

    public bool IsPadding => Kind is TcpOptionNumber.NoOperation or TcpOptionNumber.EndOfList;

    /// <summary>As a script has it.</summary>
    public override string ToString() => Kind switch
    {
        TcpOptionNumber.EndOfList => "eol",
        TcpOptionNumber.NoOperation => "nop",
        TcpOptionNumber.MaximumSegmentSize => string.Create(CultureInfo.InvariantCulture, $"mss {Values[0]}"),
        TcpOptionNumber.WindowScale => string.Create(CultureInfo.InvariantCulture, $"wscale {Values[0]}"),
        TcpOptionNumber.SackPermitted => "sackOK",
        TcpOptionNumber.Sack => "sack " + string.Join(' ', Values.Chunk(2).Select(block => string.Create(CultureInfo.InvariantCulture, $"{block[0]}:{block[1]}"))),
        TcpOptionNumber.Timestamps => string.Create(CultureInfo.InvariantCulture, $"TS val {Values[0]} ecr {Values[1]}"),
        TcpOptionNumber.UserTimeout => string.Create(CultureInfo.InvariantCulture, $"uto {Values[0]}"),
        TcpOptionNumber.FastOpen => $"FO {Convert.ToHexStringLower(Raw)}",
        _ => $"option {(byte)Kind} {Convert.ToHexStringLower(Raw)}",
    };

    /// <summary>The same option with the same contents?</summary>
    public bool Matches(TcpOptionSpec other) => Kind == other.Kind && Values.SequenceEqual(other.Values) && Raw.AsSpan().SequenceEqual(other.Raw);
}
