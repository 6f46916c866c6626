namespace ZeroCopyDaemon.Net.Ip;

internal enum Ipv4OptionsVerdict
{
    Acceptable,
    Malformed,
    SourceRoute,
}

/// <summary>
/// The options of an IPv4 header (RFC 791 section 3.1). A host needs none of them: they are passed over, but source routes are refused, as they
/// let a sender choose the way that answers take (RFC 7126 section 4.3).
/// </summary>
internal static class Ipv4Options
{
    private const byte EndOfList = 0;
    private const byte NoOperation = 1;
    private const byte LooseSourceRoute = 131;
    private const byte StrictSourceRoute = 137;

    public static Ipv4OptionsVerdict Check(ReadOnlySpan<byte> options)
    {
        while (options.Length > 0 && options[0] != EndOfList)
        {
            if (options[0] == NoOperation)
            {
                options = options[1..];
                continue;
            }

            if (options.Length < 2 || options[1] < 2 || options[1] > options.Length)
            {
                return Ipv4OptionsVerdict.Malformed;
            }

            if (options[0] is LooseSourceRoute or StrictSourceRoute)
            {
                return Ipv4OptionsVerdict.SourceRoute;
            }

            options = options[options[1]..];
        }

        return Ipv4OptionsVerdict.Acceptable;
    }
}
