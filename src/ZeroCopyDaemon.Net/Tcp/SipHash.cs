using System.Numerics;
using ZeroCopyDaemon.Net.Addresses;

namespace ZeroCopyDaemon.Net.Tcp;

/// <summary>
/// SipHash-2-4 (Aumasson, Bernstein 2012) over whole 64-bit words: a keyed hash that a peer who doesn't know the key can neither predict nor collide. Serves the flow table, initial sequence
/// numbers and ephemeral ports.
/// </summary>
internal readonly struct SipHash(UInt128 key)
{
    private readonly ulong _k0 = (ulong)key;
    private readonly ulong _k1 = (ulong)(key >> 64);

    /// <summary>Hash of a connection's four-tuple and a purpose, so that different uses of one key don't tell of each other.</summary>
    public ulong Hash(in FlowKey flow, ulong purpose)
    {
        var state = new State(_k0, _k1);
        state.Add(flow.Local.High);
        state.Add(flow.Local.Low);
        state.Add(flow.Remote.High);
        state.Add(flow.Remote.Low);
        state.Add(((ulong)flow.LocalPort << 16) | flow.RemotePort);
        state.Add(purpose);
        return state.Finish(48);
    }

    /// <summary>Hash of a sequence of words.</summary>
    public ulong Hash(ReadOnlySpan<ulong> words)
    {
        var state = new State(_k0, _k1);
        foreach (ulong word in words)
        {
            state.Add(word);
        }

        return state.Finish(words.Length * 8);
    }

    private struct State(ulong k0, ulong k1)
    {
        private ulong _v0 = k0 ^ 0x736f6d6570736575;
        private ulong _v1 = k1 ^ 0x646f72616e646f6d;
        private ulong _v2 = k0 ^ 0x6c7967656e657261;
        private ulong _v3 = k1 ^ 0x7465646279746573;

        public void Add(ulong word)
        {
            _v3 ^= word;
            Round();
            Round();
            _v0 ^= word;
        }

        public ulong Finish(int length)
        {
            Add((ulong)length << 56);
            _v2 ^= 0xFF;
            Round();
            Round();
            Round();
            Round();
            return _v0 ^ _v1 ^ _v2 ^ _v3;
        }

        private void Round()
        {
            _v0 += _v1;
            _v1 = BitOperations.RotateLeft(_v1, 13) ^ _v0;
            _v0 = BitOperations.RotateLeft(_v0, 32);
            _v2 += _v3;
            _v3 = BitOperations.RotateLeft(_v3, 16) ^ _v2;
            _v0 += _v3;
            _v3 = BitOperations.RotateLeft(_v3, 21) ^ _v0;
            _v2 += _v1;
            _v1 = BitOperations.RotateLeft(_v1, 17) ^ _v2;
            _v2 = BitOperations.RotateLeft(_v2, 32);
        }
    }
}

/// <summary>What tells connections apart.</summary>
internal readonly record struct FlowKey(IpAddress Local, IpAddress Remote, ushort LocalPort, ushort RemotePort)
{
    public FlowKey(IpEndpoint local, IpEndpoint remote)
        : this(local.Address, remote.Address, local.Port, remote.Port)
    {
    }
}

/// <summary>Compares flows under the stack's secret, so that a peer can't choose flows that fall into one bucket.</summary>
internal sealed class FlowKeyComparer(SipHash hash) : IEqualityComparer<FlowKey>
{
    public bool Equals(FlowKey x, FlowKey y) => x == y;

    public int GetHashCode(FlowKey obj) => (int)hash.Hash(obj, purpose: 1);
}
