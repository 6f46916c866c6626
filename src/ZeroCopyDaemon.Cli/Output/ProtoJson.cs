using System.Collections;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace ZeroCopyDaemon.Cli.Output;

/// <summary>
/// Writes a control message as JSON with the names that the .proto file gives. Unlike protobuf's own mapping every number is a number (64-bit ones too), and every field is there, so that
/// a script need not know which values are defaults.
/// </summary>
internal static class ProtoJson
{
    private static readonly JsonWriterOptions Indented = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static readonly JsonWriterOptions OneLine = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>A document that <paramref name="write"/> fills.</summary>
    public static string Document(Action<Utf8JsonWriter> write, bool indented)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter writer = new(stream, indented ? Indented : OneLine))
        {
            write(writer);
        }

        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }

    /// <summary>The message as an object.</summary>
    public static void Write(Utf8JsonWriter json, IMessage message)
    {
        json.WriteStartObject();
        WriteFields(json, message);
        json.WriteEndObject();
    }

    /// <summary>The message's fields, into an object that is open.</summary>
    public static void WriteFields(Utf8JsonWriter json, IMessage message, params ReadOnlySpan<string> except)
    {
        foreach (FieldDescriptor field in message.Descriptor.Fields.InDeclarationOrder())
        {
            if (except.Contains(field.Name))
            {
                continue;
            }

            json.WritePropertyName(field.Name);
            object? value = field.Accessor.GetValue(message);
            switch (value)
            {
                case IDictionary map:
                    json.WriteStartObject();
                    foreach (DictionaryEntry entry in map)
                    {
                        json.WritePropertyName(entry.Key.ToString()!);
                        WriteValue(json, entry.Value);
                    }

                    json.WriteEndObject();
                    break;
                case IList list:
                    json.WriteStartArray();
                    foreach (object? item in list)
                    {
                        WriteValue(json, item);
                    }

                    json.WriteEndArray();
                    break;
                default:
                    WriteValue(json, value);
                    break;
            }
        }
    }

    private static void WriteValue(Utf8JsonWriter json, object? value)
    {
        switch (value)
        {
            case null: json.WriteNullValue(); break;
            case string text: json.WriteStringValue(text); break;
            case bool flag: json.WriteBooleanValue(flag); break;
            case int number: json.WriteNumberValue(number); break;
            case uint number: json.WriteNumberValue(number); break;
            case long number: json.WriteNumberValue(number); break;
            case ulong number: json.WriteNumberValue(number); break;
            case double number: json.WriteNumberValue(number); break;
            case float number: json.WriteNumberValue(number); break;
            case ByteString bytes: json.WriteBase64StringValue(bytes.Span); break;
            case IMessage message: Write(json, message); break;
            default: json.WriteStringValue(value.ToString()); break;
        }
    }
}
