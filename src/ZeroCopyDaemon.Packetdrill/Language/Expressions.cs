namespace ZeroCopyDaemon.Packetdrill.Language;

/// <summary>An argument or result of a system call.</summary>
internal abstract record Expression
{
    /// <summary>The length that a buffer argument in braces or brackets stands for, or the number; null if it is neither.</summary>
    public long? AsNumber => this is NumberExpression number ? number.Value : null;
}

/// <summary><c>...</c>: anything.</summary>
internal sealed record AnyExpression : Expression;

internal sealed record NumberExpression(long Value) : Expression;

/// <summary>A constant by its name.</summary>
internal sealed record NameExpression(string Name) : Expression;

internal sealed record StringExpression(string Value) : Expression;

/// <summary><c>a | b</c>.</summary>
internal sealed record OrExpression(IReadOnlyList<Expression> Parts) : Expression;

/// <summary><c>[a, b]</c>.</summary>
internal sealed record ListExpression(IReadOnlyList<Expression> Items) : Expression;

/// <summary><c>{name=value, name(length)=value, value}</c>; a field without a name has an empty one.</summary>
internal sealed record StructExpression(IReadOnlyList<(string Name, Expression Value)> Fields) : Expression
{
    public Expression? this[string name] => Fields.FirstOrDefault(field => field.Name == name).Value;
}

/// <summary><c>htons(8080)</c>.</summary>
internal sealed record CallExpression(string Name, IReadOnlyList<Expression> Arguments) : Expression;
