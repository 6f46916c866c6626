using ZeroCopyDaemon.Protocol;

namespace ZeroCopyDaemon.UnitTests;

public sealed class RunDirectoryTests
{
    [Theory]
    [InlineData("default", true)]
    [InlineData("a.b_c-9", true)]
    [InlineData("", false)]
    [InlineData(".", false)]
    [InlineData("..", false)]
    [InlineData("a/b", false)]
    [InlineData("a b", false)]
    [InlineData("ä", false)]
    public void A_name_is_of_letters_digits_and_a_few_marks(string name, bool valid) => Assert.Equal(valid, RunDirectory.IsName(name));

    [Fact]
    public void A_name_has_at_most_64_characters()
    {
        Assert.True(RunDirectory.IsName(new string('n', 64)));
        Assert.False(RunDirectory.IsName(new string('n', 65)));
        Assert.Contains("is no name", Assert.Throws<RunDirectoryException>(() => RunDirectory.For("a/b", "/tmp")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Everything_of_a_daemon_lies_in_its_own_folder()
    {
        RunDirectory directory = RunDirectory.For("one", "/base");
        Assert.Equal("/base/one", directory.Path);
        Assert.All([directory.ControlSocket, directory.Lock, directory.StateFile, directory.Bells, directory.Areas, directory.Logs], path => Assert.StartsWith("/base/one/", path, StringComparison.Ordinal));
    }

    [Fact]
    public void A_socket_path_that_is_too_long_is_refused_with_what_to_change()
    {
        string folder = "/" + new string('x', RunDirectory.MaxSocketPathBytes - "/d/control.sock".Length - 1);
        Assert.Equal(RunDirectory.MaxSocketPathBytes, RunDirectory.For("d", folder).ControlSocket.Length);
        Assert.Contains(RunDirectory.BaseVariable, Assert.Throws<RunDirectoryException>(() => RunDirectory.For("d", folder + "x")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Folders_are_made_for_this_user_alone()
    {
        string folder = Directory.CreateTempSubdirectory("zcd-run-").FullName;
        try
        {
            Assert.Empty(RunDirectory.Names(Path.Combine(folder, "none")));
            RunDirectory directory = RunDirectory.For("mine", folder);
            directory.Create();
            directory.Create();
            Assert.True(Directory.Exists(directory.Bells) && Directory.Exists(directory.Logs) && Directory.Exists(directory.Areas));
            if (!OperatingSystem.IsWindows())
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(directory.Path));
            }

            Directory.CreateDirectory(Path.Combine(folder, "not a name"));
            Assert.Equal(["mine"], RunDirectory.Names(folder));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void A_folder_that_cannot_be_made_is_one_clear_line()
    {
        string file = Path.GetTempFileName();
        try
        {
            Assert.Contains("can't be used", Assert.Throws<RunDirectoryException>(() => RunDirectory.For("d", file).Create()).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }
}
