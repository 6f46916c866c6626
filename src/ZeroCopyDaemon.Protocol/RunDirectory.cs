using System.Text;

namespace ZeroCopyDaemon.Protocol;

/// <summary>
/// Where a daemon of a given name keeps what other processes find it by: a folder of its own that only its user may enter. Paths only; nothing here stays open.
/// <para>The folders of all daemons lie in one base folder: <c>ZCD_RUN_DIR</c> if that is set, else <c>$XDG_RUNTIME_DIR/zerocopydaemon</c>, else <c>/run/zerocopydaemon</c> for
/// root, else <c>zerocopydaemon-USER</c> in the folder for temporary files.</para>
/// </summary>
public sealed class RunDirectory
{
    /// <summary>The environment variable that names the base folder.</summary>
    public const string BaseVariable = "ZCD_RUN_DIR";

    /// <summary>The environment variable that names the daemon.</summary>
    public const string NameVariable = "ZCD_NAME";

    /// <summary>The daemon's name when nobody gives one.</summary>
    public const string DefaultName = "default";

    /// <summary>Bytes of a unix socket's path without its closing zero: <c>sun_path</c> of Linux.</summary>
    public const int MaxSocketPathBytes = 107;

    private const int MaxNameLength = 64;

    private RunDirectory(string baseDirectory, string name)
    {
        CheckName(name);
        Name = name;
        Path = System.IO.Path.Combine(baseDirectory, name);
        ControlSocket = System.IO.Path.Combine(Path, "control.sock");
        int bytes = Encoding.UTF8.GetByteCount(ControlSocket);
        if (bytes > MaxSocketPathBytes)
        {
            throw new RunDirectoryException(
                $"The control socket's path '{ControlSocket}' has {bytes} bytes, and a unix socket's path may have {MaxSocketPathBytes}: choose a shorter run directory ({BaseVariable}) or a shorter name.");
        }
    }

    /// <summary>The daemon's name.</summary>
    public string Name { get; }

    /// <summary>The daemon's folder, mode 0700.</summary>
    public string Path { get; }

    /// <summary>Unix socket of the control service.</summary>
    public string ControlSocket { get; }

    /// <summary>Held by the running kernel host, so that there is one at a time.</summary>
    public string Lock => System.IO.Path.Combine(Path, "lock");

    /// <summary>What the supervisor writes down about itself and its processes.</summary>
    public string StateFile => System.IO.Path.Combine(Path, "state.json");

    /// <summary>Folder of the FIFOs by which workers ring the kernel.</summary>
    public string Bells => System.IO.Path.Combine(Path, "bells");

    /// <summary>Folder of mappings where there are no memfds.</summary>
    public string Areas => System.IO.Path.Combine(Path, "areas");

    /// <summary>Folder of log files.</summary>
    public string Logs => System.IO.Path.Combine(Path, "logs");

    /// <summary>The daemon that <c>ZCD_NAME</c> names, else <see cref="DefaultName"/>.</summary>
    public static string NameFromEnvironment => Environment.GetEnvironmentVariable(NameVariable) is { Length: > 0 } name ? name : DefaultName;

    /// <summary>The folder that the daemons' folders lie in. It need not exist.</summary>
    public static string Base
    {
        get
        {
            if (Environment.GetEnvironmentVariable(BaseVariable) is { Length: > 0 } chosen)
            {
                return System.IO.Path.GetFullPath(chosen);
            }

            if (!OperatingSystem.IsWindows())
            {
                if (Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime && System.IO.Path.IsPathRooted(runtime))
                {
                    return System.IO.Path.Combine(runtime, "zerocopydaemon");
                }

                if (Environment.IsPrivilegedProcess && Directory.Exists("/run"))
                {
                    return "/run/zerocopydaemon";
                }
            }

            return System.IO.Path.Combine(System.IO.Path.GetTempPath(), "zerocopydaemon-" + Environment.UserName);
        }
    }

    /// <summary>The paths of a daemon. Creates nothing.</summary>
    /// <param name="name">Null or empty: by <c>ZCD_NAME</c>, else <see cref="DefaultName"/>.</param>
    /// <param name="baseDirectory">Null or empty: <see cref="Base"/>.</param>
    /// <exception cref="RunDirectoryException">The name is not one, or the socket's path would be too long.</exception>
    public static RunDirectory For(string? name = null, string? baseDirectory = null) =>
        new(string.IsNullOrEmpty(baseDirectory) ? Base : System.IO.Path.GetFullPath(baseDirectory), string.IsNullOrEmpty(name) ? NameFromEnvironment : name);

    /// <summary>The names that have a folder in the base folder, sorted; whether their daemons run is another question.</summary>
    public static IReadOnlyList<string> Names(string? baseDirectory = null)
    {
        string directory = string.IsNullOrEmpty(baseDirectory) ? Base : baseDirectory;
        if (!Directory.Exists(directory))
        {
            return [];
        }

        var names = new List<string>();
        foreach (string path in Directory.EnumerateDirectories(directory))
        {
            string name = System.IO.Path.GetFileName(path);
            if (IsName(name))
            {
                names.Add(name);
            }
        }

        names.Sort(StringComparer.Ordinal);
        return names;
    }

    /// <summary>True for 1 to 64 of the letters, digits, '.', '_' and '-', but not a path's own "." and "..".</summary>
    public static bool IsName(string name)
    {
        if (name.Length is 0 or > MaxNameLength || name is "." or "..")
        {
            return false;
        }

        foreach (char c in name)
        {
            if (!char.IsAsciiLetterOrDigit(c) && c is not ('.' or '_' or '-'))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Makes the folders, mode 0700. One that belongs to another user is refused: who owns the folder could put a socket of his own in it.</summary>
    /// <exception cref="RunDirectoryException">They can't be made, or belong to somebody else.</exception>
    public void Create()
    {
        try
        {
            CreatePrivate(Path);
            CreatePrivate(Bells);
            CreatePrivate(Areas);
            CreatePrivate(Logs);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new RunDirectoryException($"The run directory '{Path}' can't be used ({e.Message.TrimEnd('.')}): choose another one with {BaseVariable}.", e);
        }
    }

    private static void CheckName(string name)
    {
        if (!IsName(name))
        {
            throw new RunDirectoryException($"'{name}' is no name for a daemon: use 1 to {MaxNameLength} letters, digits, '.', '_' or '-'.");
        }
    }

    private static void CreatePrivate(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
            return;
        }

        const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Directory.CreateDirectory(path, Private);

        // Fails for another user's folder, and mends one that was made with a wider mode.
        File.SetUnixFileMode(path, Private);
    }
}

/// <summary>A run directory can't be used; the message is one line that says what to change.</summary>
public sealed class RunDirectoryException : IOException
{
    public RunDirectoryException(string message)
        : base(message)
    {
    }

    public RunDirectoryException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
