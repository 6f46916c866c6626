using Spectre.Console;
using ZeroCopyDaemon.Cli.Output;

namespace ZeroCopyDaemon.Cli.Hosting;

/// <summary>A start in the foreground: steps in one line of the terminal (nothing elsewhere), then the block of lines on standard output.</summary>
internal sealed class TerminalProgress : IStartProgress
{
    private readonly bool _live = !Console.IsErrorRedirected && Terminal.Error.Profile.Capabilities.Ansi;
    private readonly object _gate = new();
    private string _shown = string.Empty;

    public void Step(string what)
    {
        lock (_gate)
        {
            if (_live && !string.Equals(what, _shown, StringComparison.Ordinal))
            {
                _shown = what;
                Console.Error.Write($"\r\x1b[2K{what} ...");
            }
        }
    }

    /// <summary>Takes the steps' line away.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            if (_live && _shown.Length > 0)
            {
                Console.Error.Write("\r\x1b[2K");
                _shown = string.Empty;
            }
        }
    }

    public void Ready(IReadOnlyList<string> lines)
    {
        Clear();
        foreach (string line in lines)
        {
            Console.Out.WriteLine(line);
        }
    }
}

/// <summary>A start in the background: tells the process that asked for it, line by line, over a pipe.</summary>
internal sealed class PipeProgress(TextWriter pipe) : IStartProgress
{
    public const string StepMark = "step ";
    public const string LineMark = "line ";
    public const string ReadyMark = "ready";
    public const string ErrorMark = "error ";

    private readonly object _gate = new();
    private bool _closed;

    public void Step(string what) => Send(StepMark + what);

    public void Ready(IReadOnlyList<string> lines)
    {
        foreach (string line in lines)
        {
            Console.Out.WriteLine(line);
            Send(LineMark + line);
        }

        Send(ReadyMark);
        lock (_gate)
        {
            _closed = true;
            pipe.Dispose();
        }
    }

    /// <summary>It did not come about; the line says why.</summary>
    public void Error(string line) => Send(ErrorMark + line);

    private void Send(string line)
    {
        lock (_gate)
        {
            if (_closed)
            {
                return;
            }

            try
            {
                pipe.WriteLine(line);
                pipe.Flush();
            }
            catch (IOException)
            {
                // Whoever asked has gone. The daemon it asked for comes up all the same.
                _closed = true;
            }
        }
    }
}
