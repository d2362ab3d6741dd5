using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Crstore.Cli;

/// <summary>The library's help, followed by examples and exit codes.</summary>
internal sealed class HelpWithExamples(HelpAction inner, TextWriter output) : SynchronousCommandLineAction
{
    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        inner.MaxWidth = 100;
        var code = inner.Invoke(parseResult);
        switch (parseResult.CommandResult.Command)
        {
            case Verb verb:
                WriteExamples(verb);
                WriteExitCodes(ExitCodes.Of(verb));
                break;
            case RootCommand:
                output.WriteLine("Use \"crstore VERB --help\" for options, examples and exit codes of a verb.");
                output.WriteLine();
                WriteExitCodes(ExitCodes.All);
                break;
        }
        return code;
    }

    private void WriteExamples(Verb verb)
    {
        if (verb.Examples.Count == 0) return;
        output.WriteLine("Examples:");
        foreach (var example in verb.Examples)
        {
            output.WriteLine($"  # {example.Meaning}");
            output.WriteLine($"  crstore {example.CommandLine}");
        }
        output.WriteLine();
    }

    private void WriteExitCodes(IEnumerable<Crstore.Model.ExitCode> codes)
    {
        output.WriteLine("Exit codes:");
        foreach (var code in codes) output.WriteLine($"  {(int)code,3}  {ExitCodes.Meaning(code)}");
    }
}
