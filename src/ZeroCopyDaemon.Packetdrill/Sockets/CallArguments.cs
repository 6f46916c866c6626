using ZeroCopyDaemon.Net.Addresses;
using ZeroCopyDaemon.Packetdrill.Language;

namespace ZeroCopyDaemon.Packetdrill.Sockets;

/// <summary>The arguments of a system call, evaluated.</summary>
internal sealed class CallArguments(CallEvent call)
{
    public int Line => call.Line;

    public int Count => call.Arguments.Count;

    public Expression this[int index] =>
        index < call.Arguments.Count ? call.Arguments[index] : throw new ScriptException(call.Line, $"syntax: {call.Name} needs more than {call.Arguments.Count} arguments");

    public bool IsAny(int index) => this[index] is AnyExpression;

    public long Number(int index) => Evaluate(this[index]);

    public long NumberOr(int index, long otherwise) => index < Count && !IsAny(index) ? Number(index) : otherwise;

    /// <summary>The descriptor in a place.</summary>
    public int Fd(int index) => (int)Number(index);

    /// <summary>The value of an option: <c>[1]</c>, or <c>1</c>.</summary>
    public long OptionValue(int index) => this[index] is ListExpression { Items: [var item] } ? Evaluate(item) : Evaluate(this[index]);

    public long Evaluate(Expression expression) => expression switch
    {
        NumberExpression number => number.Value,
        NameExpression name when Constants.TryGet(name.Name, out long value) => value,
        NameExpression name => throw ScriptException.Unsupported(call.Line, $"the constant {name.Name}"),
        OrExpression or => or.Parts.Aggregate(0L, (sum, part) => sum | Evaluate(part)),
        CallExpression { Name: "htons" or "htonl" or "ntohs" or "ntohl", Arguments: [var inner] } => Evaluate(inner),
        _ => throw new ScriptException(call.Line, $"syntax: {call.Name} takes a number there"),
    };

    /// <summary>A socket address; null for <c>...</c>.</summary>
    public IpEndpoint? Address(int index)
    {
        if (this[index] is not StructExpression address)
        {
            return IsAny(index) ? null : throw new ScriptException(call.Line, $"syntax: {call.Name} takes an address there");
        }

        Expression? port = address["sin_port"] ?? address["sin6_port"];
        Expression? host = address["sin_addr"] ?? address["sin6_addr"];
        IpAddress ip = default;
        if (host is CallExpression { Name: "inet_addr" or "inet_pton", Arguments: var arguments } && arguments.OfType<StringExpression>().FirstOrDefault() is { } text
            && !IpAddress.TryParse(text.Value, out ip))
        {
            throw new ScriptException(call.Line, $"syntax: '{text.Value}' is no address");
        }

        return new IpEndpoint(ip, port is null ? (ushort)0 : (ushort)Evaluate(port));
    }

    /// <summary>Bytes of the buffers in <c>[{..., 1000}, {..., 500}]</c>.</summary>
    public long VectorBytes(Expression expression) => expression is ListExpression list
        ? list.Items.Sum(item => item is StructExpression { Fields: [.., var last] } ? Evaluate(last.Value) : throw Bad())
        : throw Bad();

    private ScriptException Bad() => new(call.Line, $"syntax: {call.Name} takes a list of {{..., length}} there");
}
