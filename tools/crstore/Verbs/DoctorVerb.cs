using System.CommandLine;
using Crstore.Model;

namespace Crstore.Cli.Verbs;

/// <summary>`doctor`: what works here, by trial.</summary>
internal sealed class DoctorVerb : Verb
{
    private readonly Argument<int?> _pid = new("PID")
    {
        CustomParser = Quantities.Parser(Quantities.Pid, "a process id"),
        Arity = ArgumentArity.ZeroOrOne,
        Description = "Say for this process which tracker would be used and what could not be captured",
    };
    private readonly Option<bool> _json;

    /// <summary>Creates the verb.</summary>
    public DoctorVerb(CommandContext context)
        : base("doctor", "Show what works here, by trial; for a PID, how it would be captured.", context)
    {
        Arguments.Add(_pid);
        _json = AddJson();
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples =>
    [
        new("doctor", "this machine and this user"),
        new("doctor 1234", "how process 1234 would be captured"),
    ];

    /// <inheritdoc/>
    public override IReadOnlyList<ExitCode> ExitCodes => [ExitCode.Target];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        var checks = HostChecks.All(() => StoreLocation.Of(parsed)).ToList();
        if (parsed.GetValue(_json))
        {
            JsonOutput.Object(Context, json => json.Objects("checks", checks, static (writer, check) =>
            {
                writer.WriteString("name", check.Name);
                writer.WriteString("verdict", check.Verdict);
                writer.WriteString("detail", check.Detail);
            }));
            return ExitCode.Ok;
        }
        var table = new TextTable("check", "verdict", "detail");
        foreach (var check in checks) table.Add(check.Name, check.Verdict, check.Detail);
        table.Write(Context.Out);
        return ExitCode.Ok;
    }
}
