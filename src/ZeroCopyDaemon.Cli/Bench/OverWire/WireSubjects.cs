using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using ZeroCopyDaemon.Cli.Hosting;

namespace ZeroCopyDaemon.Cli.Bench.OverWire;

/// <summary>A peer of W1: an ordinary socket server that takes everything in, in a network namespace.</summary>
internal sealed class VethSinkSubject(VethNamespace place) : BenchSubject("plain sockets, veth")
{
    private PlainServerProcess? _server;

    public override async Task StartAsync(CancellationToken cancel)
    {
        // `ip netns exec` becomes what it starts, so the process is the same.
        ProcessStartInfo self = SelfProcess.StartInfo([Commands.BenchCommand.ServerName, Commands.BenchCommand.ServerSink]);
        _server = await PlainServerProcess.StartAsync(Tool.Ip.StartInfo(["netns", "exec", place.Name, self.FileName, .. self.ArgumentList]), cancel);
        EndPoint = new IPEndPoint(place.Address, _server.Port);
        Pids = [_server.Pid];
    }

    public override async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }
    }
}

/// <summary>A peer of W2 and W3: nginx with one worker, in a network namespace, with files of its own.</summary>
internal sealed class NginxSubject(VethNamespace place, string folder) : BenchSubject("nginx, veth")
{
    private const int Port = 8080;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private Process? _process;
    private string _complaint = string.Empty;

    public override async Task StartAsync(CancellationToken cancel)
    {
        Directory.CreateDirectory(folder);
        string configuration = Path.Combine(folder, "nginx.conf");
        await File.WriteAllTextAsync(configuration, Configuration(), cancel);
        EndPoint = new IPEndPoint(place.Address, Port);
        _process = Process.Start(Tool.Ip.StartInfo(["netns", "exec", place.Name, Tool.Nginx.Path!, "-c", configuration, "-p", folder])) ?? throw new CliException("nginx could not be started");
        _process.ErrorDataReceived += (_, line) => _complaint += line.Data + " ";
        _process.BeginErrorReadLine();
        _process.BeginOutputReadLine();
        await UntilItAnswersAsync(cancel);
        Pids = ChildProcess.Tree(_process.Id);
    }

    public override async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            // The master, asked to terminate, ends its workers; should it not be there any more, there is nobody to ask.
            if (!_process.HasExited)
            {
                await ChildProcess.RunAsync(Tool.Ip.StartInfo(["netns", "exec", place.Name, Tool.Nginx.Path!, "-c", Path.Combine(folder, "nginx.conf"), "-p", folder, "-s", "stop"]), CancellationToken.None);
            }

            await _process.WaitForExitAsync();
            _process.Dispose();
        }
    }

    private async Task UntilItAnswersAsync(CancellationToken cancel)
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            using Socket probe = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                await probe.ConnectAsync(EndPoint, cancel);
                return;
            }
            catch (SocketException)
            {
                if (_process!.HasExited || Stopwatch.GetElapsedTime(start) > Patience)
                {
                    throw new CliException($"nginx did not start: {_complaint.Trim()}");
                }

                await Task.Delay(50, cancel);
            }
        }
    }

    private string Configuration() => string.Create(CultureInfo.InvariantCulture, $$"""
        daemon off;
        user root;
        worker_processes 1;
        pid {{folder}}/nginx.pid;
        error_log stderr;
        events {
            worker_connections 2048;
        }
        http {
            access_log off;
            keepalive_requests 1000000000;
            client_body_temp_path {{folder}}/body;
            proxy_temp_path {{folder}}/proxy;
            fastcgi_temp_path {{folder}}/fastcgi;
            uwsgi_temp_path {{folder}}/uwsgi;
            scgi_temp_path {{folder}}/scgi;
            server {
                listen {{Port}} backlog=1024;
                location / {
                    default_type text/plain;
                    return 200 "Hello from nginx, which answers each of these requests with a text of about as many bytes as the other server's.\n";
                }
            }
        }
        """);
}
