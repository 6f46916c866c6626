using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Unicode;
using Microsoft.AspNetCore.WebUtilities;

namespace ZeroCopyDaemon.Cli.Apps.Http;

/// <summary>Who answers, as the answers name it.</summary>
internal readonly record struct HttpIdentity(int Worker, int Pid, string Daemon, string Strategy);

/// <summary>Writes responses into memory that is sent as it is. Allocates nothing for the common ones.</summary>
internal static class HttpResponses
{
    /// <summary>Room that any answer without a streamed body fits into.</summary>
    public const int MaxBytes = 768;

    private const int MaxTextBytes = 384;

    /// <summary>200 with a text that names the worker. Returns the length.</summary>
    public static int WriteHello(Span<byte> to, in HttpIdentity who, HttpRequestReader request, uint connection, long payloadBytes, long requests)
    {
        Span<byte> text = stackalloc byte[MaxTextBytes];
        Utf8.TryWrite(
            text,
            CultureInfo.InvariantCulture,
            $"Hello from worker {who.Worker} (pid {who.Pid}) of daemon '{who.Daemon}': request {requests} on connection {connection}, {payloadBytes} bytes of payload seen so far, strategy {who.Strategy}.\n",
            out int length);
        return WriteText(to, who, request, text[..length]);
    }

    /// <summary>200 with the body's length. Returns the length.</summary>
    public static int WriteBodyLength(Span<byte> to, in HttpIdentity who, HttpRequestReader request)
    {
        Span<byte> text = stackalloc byte[MaxTextBytes];
        Utf8.TryWrite(text, CultureInfo.InvariantCulture, $"{request.BodyBytes} bytes of body read by worker {who.Worker} (pid {who.Pid})\n", out int length);
        return WriteText(to, who, request, text[..length]);
    }

    /// <summary>200 with the body's SHA-256 as <c>sha256sum</c> writes it. Returns the length.</summary>
    public static int WriteDigest(Span<byte> to, in HttpIdentity who, HttpRequestReader request)
    {
        Span<byte> digest = stackalloc byte[SHA256.HashSizeInBytes];
        request.TakeDigest(digest);
        Span<byte> text = stackalloc byte[(SHA256.HashSizeInBytes * 2) + 1];
        Convert.TryToHexStringLower(digest, text, out int length);
        text[length] = (byte)'\n';
        return WriteText(to, who, request, text);
    }

    /// <summary>Headers of a 200 whose body of that many bytes follows by itself. Returns the length.</summary>
    public static int WriteDownloadHead(Span<byte> to, in HttpIdentity who, HttpRequestReader request, long bodyBytes) =>
        WriteHead(to, "200 OK"u8, "application/octet-stream"u8, who, bodyBytes, request.KeepAlive, request.IsHttp11);

    /// <summary>Leave to send the body (RFC 9110 section 10.1.1). Returns the length.</summary>
    public static int WriteContinue(Span<byte> to)
    {
        ReadOnlySpan<byte> response = "HTTP/1.1 100 Continue\r\n\r\n"u8;
        response.CopyTo(to);
        return response.Length;
    }

    /// <summary>An error, after which the connection is closed. Returns the length.</summary>
    public static int WriteError(Span<byte> to, in HttpIdentity who, int status)
    {
        string reason = ReasonPhrases.GetReasonPhrase(status);
        Span<byte> text = stackalloc byte[MaxTextBytes];
        Utf8.TryWrite(text, CultureInfo.InvariantCulture, $"{status} {reason}\n", out int length);
        Span<byte> line = stackalloc byte[64];
        Utf8.TryWrite(line, CultureInfo.InvariantCulture, $"{status} {reason}", out int lineLength);
        int at = WriteHead(to, line[..lineLength], "text/plain; charset=utf-8"u8, who, length, keepAlive: false, isHttp11: true);
        text[..length].CopyTo(to[at..]);
        return at + length;
    }

    private static int WriteText(Span<byte> to, in HttpIdentity who, HttpRequestReader request, ReadOnlySpan<byte> text)
    {
        int at = WriteHead(to, "200 OK"u8, "text/plain; charset=utf-8"u8, who, text.Length, request.KeepAlive, request.IsHttp11);

        // RFC 9110 section 9.3.2: the same headers, no body.
        if (request.Method == Microsoft.AspNetCore.Server.Kestrel.Core.Internal.Http.HttpMethod.Head)
        {
            return at;
        }

        text.CopyTo(to[at..]);
        return at + text.Length;
    }

    private static int WriteHead(Span<byte> to, ReadOnlySpan<byte> status, ReadOnlySpan<byte> type, in HttpIdentity who, long bodyBytes, bool keepAlive, bool isHttp11)
    {
        int at = 0;
        Put(to, ref at, "HTTP/1.1 "u8);
        Put(to, ref at, status);
        Put(to, ref at, "\r\nServer: zcd\r\nDate: "u8);
        Put(to, ref at, DateText.Now);
        Put(to, ref at, "\r\nContent-Type: "u8);
        Put(to, ref at, type);
        Utf8.TryWrite(to[at..], CultureInfo.InvariantCulture, $"\r\nX-Worker: {who.Worker}\r\nX-Worker-Pid: {who.Pid}\r\nContent-Length: {bodyBytes}", out int written);
        at += written;
        if (!keepAlive)
        {
            Put(to, ref at, "\r\nConnection: close"u8);
        }
        else if (!isHttp11)
        {
            Put(to, ref at, "\r\nConnection: keep-alive"u8);
        }

        Put(to, ref at, "\r\n\r\n"u8);
        return at;
    }

    private static void Put(Span<byte> to, ref int at, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(to[at..]);
        at += bytes.Length;
    }

    /// <summary>The Date header's value, made anew at most once a second.</summary>
    private static class DateText
    {
        private static byte[] s_text = [];
        private static long s_second = -1;

        public static ReadOnlySpan<byte> Now
        {
            get
            {
                // Two threads may both make it: they make the same, and the array is whole before it is seen.
                long second = Environment.TickCount64 / 1000;
                if (second != Volatile.Read(ref s_second))
                {
                    Volatile.Write(ref s_text, Encoding.ASCII.GetBytes(DateTime.UtcNow.ToString("R", CultureInfo.InvariantCulture)));
                    Volatile.Write(ref s_second, second);
                }

                return Volatile.Read(ref s_text);
            }
        }
    }
}
