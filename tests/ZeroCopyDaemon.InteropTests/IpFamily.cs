using System.Net;
using System.Net.Sockets;
using System.Reflection;
using Xunit.Sdk;
using Xunit.v3;

namespace ZeroCopyDaemon.InteropTests;

/// <summary>The IP version that a case runs over. A value added here is one more run of every case.</summary>
public enum IpFamily
{
    V4 = 4,
}

/// <summary>What differs between the IP versions; everything else is written once.</summary>
internal static class IpFamilies
{
    public static AddressFamily Sockets(this IpFamily family) => family == IpFamily.V4 ? AddressFamily.InterNetwork : AddressFamily.InterNetworkV6;

    /// <summary>The option of ping and traceroute.</summary>
    public static string Option(this IpFamily family) => $"-{(int)family}";

    /// <summary>The header without options, and TCP's.</summary>
    public static int TcpHeaderBytes(this IpFamily family) => family == IpFamily.V4 ? 40 : 60;

    /// <summary>The smallest MTU that the version allows a link.</summary>
    public static int MinimumMtu(this IpFamily family) => family == IpFamily.V4 ? 576 : 1280;

    public static IpFamily Of(IPAddress address) => address.AddressFamily == AddressFamily.InterNetwork ? IpFamily.V4 : (IpFamily)6;

    /// <summary>The address of <paramref name="endPoint"/> and another port.</summary>
    public static IPEndPoint WithPort(this IPEndPoint endPoint, int port) => new(endPoint.Address, port);
}

/// <summary>Rows of a case for every IP version; one for each of the values, if there are any.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class EveryFamilyAttribute(params object[] values) : DataAttribute
{
    public override ValueTask<IReadOnlyCollection<ITheoryDataRow>> GetData(MethodInfo testMethod, DisposalTracker disposalTracker)
    {
        ITheoryDataRow[] rows = values.Length == 0
            ? [.. Enum.GetValues<IpFamily>().Select(family => new TheoryDataRow(family))]
            : [.. Enum.GetValues<IpFamily>().SelectMany(family => values.Select(value => new TheoryDataRow(family, value)))];
        return ValueTask.FromResult<IReadOnlyCollection<ITheoryDataRow>>(rows);
    }

    public override bool SupportsDiscoveryEnumeration() => true;
}
