using System.CommandLine;
using Crstore.Model;
using Crstore.Restore;

namespace Crstore.Cli.Verbs;

/// <summary>`restore`: builds a full image of any checkpoint.</summary>
internal sealed class RestoreVerb : Verb
{
    private readonly Argument<string> _crid = new("CRID") { Description = "CRID, or SERIES[@latest|@N|@TIME]" };
    private readonly Option<string> _to = new("--to")
    {
        HelpName = "PATH",
        Description = "File (core of one process) or directory to write",
        Required = true,
    };
    private readonly Option<string> _format = new("--format")
    {
        HelpName = "core|raw",
        Description = "core: an ELF core per process, for gdb; raw: a sparse file per memory area and a JSON map",
        DefaultValueFactory = _ => "core",
    };
    private readonly Option<int?> _pid = new("--pid")
    {
        HelpName = "N",
        Description = "Only this process of a tree",
        CustomParser = Quantities.Parser(Quantities.Pid, "a process id"),
    };
    private readonly Option<bool> _force = new("--force", "-f") { Description = "Overwrite PATH" };
    private readonly Option<bool> _quiet = new("--quiet", "-q") { Description = "Print nothing but errors" };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public RestoreVerb(CommandContext context)
        : base("restore", "Write a full image of any checkpoint, wherever it lies in its chain.", context)
    {
        Arguments.Add(_crid);
        // A delegate: the exporters' assembly is not loaded for the other verbs.
        _format.CompletionSources.Add(static _ => Exporters.All.Keys);
        foreach (var option in new Option[] { _to, _format, _pid, _force, _quiet }) Options.Add(option);
        StoreWords.Complete(_crid, series: true);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("restore 17 --to redis.core", "an ELF core: gdb /usr/bin/redis-server redis.core"),
        new("restore redis@2026-11-20T12:00 --to image --format raw", "the last one at or before that time, as raw memory"),
        new("restore web@3 --pid 1240 --to worker.core --force", "one process of the third checkpoint of a tree"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Damaged];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var path = parsed.GetRequiredValue(_to);
        if (string.IsNullOrWhiteSpace(path)) throw new UsageException("--to is empty", "give a file or directory to write");
        var format = parsed.GetRequiredValue(_format);
        if (!Exporters.All.TryGetValue(format, out var exporter))
            throw new UsageException($"there is no format {format}", $"the formats are {string.Join(", ", Exporters.All.Keys.Order())}");
        var options = new ExportOptions(Path.GetFullPath(path), parsed.GetValue(_pid), parsed.GetValue(_force));

        using var store = Context.OpenStore(parsed);
        using var reader = store.OpenView();
        using var image = reader.OpenImage(reader.Resolve(parsed.GetRequiredValue(_crid)));
        var header = image.Manifest.Header;
        ExportResult result;
        using (var progress = ProgressDisplay.Start($"restoring CRID {header.Crid}", header.Pages.Logical * VirtualPage.Size, parsed.GetValue(_quiet) || parsed.GetValue(_json)))
            result = exporter.Export(image, options, progress, Context.Cancel);

        foreach (var warning in result.Warnings) CommandContext.Warn(warning);
        Print(header.Crid, format, result, parsed);
        return ExitCode.Ok;
    }

    private void Print(ulong crid, string format, ExportResult result, ParseResult parsed)
    {
        if (parsed.GetValue(_json))
        {
            JsonOutput.Object(Context, json =>
            {
                json.WriteNumber("crid", crid);
                json.WriteString("format", format);
                json.Strings("files", result.Files);
                json.WriteNumber("bytes", result.Bytes);
                json.Strings("warnings", result.Warnings);
            });
        }
        else if (!parsed.GetValue(_quiet))
        {
            Context.Out.WriteLine($"CRID {crid}: {Units.Bytes(result.Bytes)} in {Units.Count((ulong)result.Files.Count, "file")}");
            if (result.Files.Count <= 8)
                foreach (var file in result.Files) Context.Out.WriteLine(Printable.Of(file));
        }
    }
}
