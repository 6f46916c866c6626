namespace ZeroCopyDaemon.Wires;

/// <summary>A wire can't do what it was asked to. The message is for the user: it says what is wrong and what to change.</summary>
public sealed class WireException(string message, Exception? inner = null) : Exception(message, inner);
