# The twin of run.sh for Windows: builds if needed, then runs zcd, or all tests.
$ErrorActionPreference = 'Stop'
$env:DOTNET_CLI_TELEMETRY_OPTOUT = '1'
$env:DOTNET_NOLOGO = '1'
$sdkMajor = 10
$newest = 0
if (Get-Command dotnet -ErrorAction SilentlyContinue) {
  $newest = (dotnet --list-sdks | ForEach-Object { [int]($_ -split '\.')[0] } | Measure-Object -Maximum).Maximum
}
if ($newest -lt $sdkMajor) {
  [Console]::Error.WriteLine("run.ps1: .NET SDK $sdkMajor is needed; get it from https://dotnet.microsoft.com/download/dotnet/$sdkMajor.0")
  exit 1
}

if ($args.Count -gt 0 -and $args[0] -eq 'test') {
  $failed = 0
  foreach ($project in Get-ChildItem "$PSScriptRoot/tests/*Tests/*.csproj") {
    dotnet test $project.FullName -c Release -v quiet -nologo
    if ($LASTEXITCODE -ne 0) { $failed = 1 }
  }
  exit $failed
}

$log = dotnet build "$PSScriptRoot/src/ZeroCopyDaemon.Cli/ZeroCopyDaemon.Cli.csproj" -c Release -v quiet -nologo
if ($LASTEXITCODE -ne 0) {
  $log | ForEach-Object { [Console]::Error.WriteLine($_) }
  exit 1
}

if (-not $env:ZCD_COMMAND) { $env:ZCD_COMMAND = './run.ps1' }
dotnet "$PSScriptRoot/src/ZeroCopyDaemon.Cli/bin/Release/net10.0/zcd.dll" @args
exit $LASTEXITCODE
