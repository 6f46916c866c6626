using System.Globalization;
using ZeroCopyDaemon.Net;

namespace ZeroCopyDaemon.Packetdrill.Environment;

/// <summary>What FreeBSD's and Linux's settings mean to the stack under test.</summary>
internal static class SysctlTable
{
    private delegate void Setter(Settings settings, long value);

    private static readonly Dictionary<string, Setter> FreeBsd = new(StringComparer.Ordinal)
    {
        // 1 = both, 2 = window scaling alone, 3 = timestamps alone.
        ["rfc1323"] = (s, v) => s.Tcp = s.Tcp with { WindowScaling = v is 1 or 2, Timestamps = v is 1 or 3 },
        ["sack.enable"] = (s, v) => s.Tcp = s.Tcp with { Sack = v != 0 },
        ["recvspace"] = (s, v) => s.ReceiveSpace = v,
        ["sendspace"] = (s, v) => s.SendSpace = v,
        ["delacktime"] = (s, v) => s.Tcp = s.Tcp with { DelayedAckUs = v * 1000 },
        ["rexmit_initial"] = (s, v) => s.Tcp = s.Tcp with { InitialRtoUs = v * 1000 },
        ["rexmit_min"] = (s, v) => s.Tcp = s.Tcp with { MinRtoUs = v * 1000 },
        ["msl"] = (s, v) => s.Tcp = s.Tcp with { TimeWaitUs = v * 2000 },
        ["finwait2_timeout"] = (s, v) => s.Tcp = s.Tcp with { FinWait2Us = v * 1000 },
        ["initcwnd_segments"] = (s, v) => s.Tcp = s.Tcp with { InitialWindowSegments = (int)v },
        ["keepinit"] = (s, v) => s.KeepInitSeconds = v / 1000,
        ["keepidle"] = (s, v) => s.KeepIdleSeconds = v / 1000,
        ["keepintvl"] = (s, v) => s.KeepIntervalSeconds = v / 1000,
        ["keepcnt"] = (s, v) => s.KeepCount = v,
    };

    private static readonly Dictionary<string, Setter> Linux = new(StringComparer.Ordinal)
    {
        ["tcp_window_scaling"] = (s, v) => s.Tcp = s.Tcp with { WindowScaling = v != 0 },
        ["tcp_timestamps"] = (s, v) => s.Tcp = s.Tcp with { Timestamps = v != 0 },
        ["tcp_sack"] = (s, v) => s.Tcp = s.Tcp with { Sack = v != 0 },
        ["tcp_syn_retries"] = (s, v) => s.Tcp = s.Tcp with { MaxSynRetransmissions = (int)v },
        ["tcp_synack_retries"] = (s, v) => s.Tcp = s.Tcp with { MaxSynAckRetransmissions = (int)v },
        ["tcp_retries2"] = (s, v) => s.Tcp = s.Tcp with { MaxRetransmissions = (int)v },
        ["tcp_fin_timeout"] = (s, v) => s.Tcp = s.Tcp with { FinWait2Us = v * 1_000_000 },
        ["tcp_rto_min_us"] = (s, v) => s.Tcp = s.Tcp with { MinRtoUs = v },
        ["tcp_rmem"] = (s, v) => s.ReceiveSpace = v,
        ["tcp_wmem"] = (s, v) => s.SendSpace = v,
        ["tcp_keepalive_time"] = (s, v) => s.KeepIdleSeconds = v,
        ["tcp_keepalive_intvl"] = (s, v) => s.KeepIntervalSeconds = v,
        ["tcp_keepalive_probes"] = (s, v) => s.KeepCount = v,
    };

    /// <summary>Settings with one value under which the stack does what is asked for, without there being anything to set.</summary>
    private static readonly Dictionary<string, long[]> FixedFreeBsd = new(StringComparer.Ordinal)
    {
        ["blackhole"] = [0], ["rexmit_drop_options"] = [0], ["drop_synfin"] = [0, 1], ["tolerate_missing_ts"] = [0], ["syncookies_only"] = [0], ["path_mtu_discovery"] = [1],
    };

    /// <summary>Settings of machinery that the stack does not have, and whose work shows in nothing that a script sees.</summary>
    private static readonly HashSet<string> Ignored = new(StringComparer.Ordinal)
    {
        "hostcache.purgenow", "hostcache.enable", "hostcache.purge", "syncookies", "udp_tunneling_port", "udp_tunneling_overhead", "always_keepalive", "cc.algorithm", "functions_default",
        "ecn.enable", "ecn.maxretries", "insecure_rst", "insecure_syn", "icmp_may_rst", "rexmit_slop", "tcp_no_metrics_save", "tcp_min_tso_segs", "tcp_tso_win_divisor", "tcp_syncookies", "tcp_moderate_rcvbuf", "tcp_autocorking", "tcp_fack", "tcp_low_latency", "tcp_limit_output_bytes",
        "tcp_abort_on_overflow", "tcp_reordering", "tcp_congestion_control", "tcp_allowed_congestion_control", "tcp_early_retrans", "tcp_frto", "tcp_recovery",
        "tcp_invalid_ratelimit", "tcp_fastopen", "tcp_notsent_lowat", "tcp_pacing_ss_ratio", "tcp_pacing_ca_ratio", "tcp_challenge_ack_limit", "tcp_slow_start_after_idle",
        "tcp_mtu_probing", "tcp_base_mss", "tcp_stdurg", "tcp_retries1", "tcp_adv_win_scale", "tcp_app_win",
    };

    /// <summary>Sets what a line says. Null if that is done, else why not.</summary>
    public static string? Set(Settings settings, string name, string value)
    {
        string[] values = value.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        bool isList = name is "net.ipv4.tcp_rmem" or "net.ipv4.tcp_wmem";
        string first = isList && values.Length == 3 ? values[1] : values.FirstOrDefault() ?? string.Empty;
        long.TryParse(first, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number);
        if (name == "kern.ipc.maxsockbuf")
        {
            settings.IsFreeBsd = true;
            settings.Tcp = settings.Tcp with { MaxReceiveWindow = (int)Math.Min(number, 1 << 30) };
            return null;
        }

        if (name == "net.ipv4.tcp_rmem" && values.Length == 3 && int.TryParse(values[2], NumberStyles.None, CultureInfo.InvariantCulture, out int most))
        {
            settings.Tcp = settings.Tcp with { MaxReceiveWindow = most };
        }

        (Dictionary<string, Setter>? table, string key) = name switch
        {
            _ when name.StartsWith("net.inet.tcp.", StringComparison.Ordinal) => (FreeBsd, name["net.inet.tcp.".Length..]),
            _ when name.StartsWith("net.ipv4.", StringComparison.Ordinal) => (Linux, name["net.ipv4.".Length..]),
            _ when name.StartsWith("net.core.", StringComparison.Ordinal) => (null, "*"),
            _ => (null, name),
        };
        settings.IsFreeBsd |= table == FreeBsd;
        if (key == "*" || Ignored.Contains(key))
        {
            return null;
        }

        if (table is not null && table.TryGetValue(key, out Setter? setter))
        {
            setter(settings, number);
            return null;
        }

        return FixedFreeBsd.TryGetValue(key, out long[]? good) && good.Contains(number) ? null : $"the setting {name}={value}";
    }
}
