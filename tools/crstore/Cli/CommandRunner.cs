using System.CommandLine;
using System.CommandLine.Parsing;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Cli;

/// <summary>Parses, runs the verb, and turns whatever goes wrong into a line for the user and a documented exit code.</summary>
internal static class CommandRunner
{
    /// <summary>Runs the program; returns its exit code. A first SIGINT or SIGTERM asks the verb to stop; a second one ends the program at once, which the store and the target survive.</summary>
    public static int Run(string[] args, long startedAt)
    {
        using var interruption = new Interruption();
        var context = new CommandContext(startedAt, interruption);
        var code = Guarded(() => Invoke(args, context), interruption.Token);
        var flushed = Guarded(() => Flush(context), CancellationToken.None);
        return code == (int)ExitCode.Ok ? flushed : code;
    }

    private static int Invoke(string[] args, CommandContext context)
    {
        // '@' has a meaning of its own in SERIES@latest, so no response files; "-abc" is never three options here.
        var parser = new ParserConfiguration { ResponseFileTokenReplacer = null, EnablePosixBundling = false };
        var parsed = CommandTree.Build(context).Parse(args, parser);
        var errors = Errors(parsed);
        return errors.Count > 0 ? WrongUse(parsed, errors)
            : parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, Output = context.Out });
    }

    private static List<string> Errors(ParseResult parsed)
    {
        // Help and version answer whatever else is wrong.
        if (parsed.Action is { ClearsParseErrors: true }) return [];
        var command = parsed.CommandResult;
        // An unknown verb is reported twice by the library: as unknown, and as missing.
        if (command.Command is RootCommand && parsed.UnmatchedTokens is [var verb, ..] && !verb.StartsWith('-')) return [$"there is no verb '{verb}'"];
        // An option that nobody knows would be taken for an argument, a CRID for instance, and "not found".
        var unknown = command.Children.OfType<ArgumentResult>().SelectMany(argument => argument.Tokens).Select(token => token.Value)
            .Concat(parsed.UnmatchedTokens).Where(token => token.StartsWith('-')).Select(token => $"there is no option '{token}'").ToList();
        return unknown.Count > 0 ? unknown : [.. parsed.Errors.Select(error => OneLine(error.Message)).Distinct()];
    }

    private static int WrongUse(ParseResult parsed, List<string> errors)
    {
        foreach (var error in errors) CommandContext.Tell(error);
        var command = parsed.CommandResult.Command;
        var name = command is RootCommand ? "crstore" : $"crstore {command.Name}";
        CommandContext.Hint($"see `{name} --help`");
        return (int)ExitCode.Usage;
    }

    private static string OneLine(string message) =>
        string.Join(' ', message.Split(['\r', '\n', '\t'], StringSplitOptions.RemoveEmptyEntries)).TrimEnd('.');

    private static int Flush(CommandContext context)
    {
        context.Out.Flush();
        return (int)ExitCode.Ok;
    }

    private static int Guarded(Func<int> run, CancellationToken interrupt)
    {
        try
        {
            return run();
        }
        catch (CrstoreException error)
        {
            CommandContext.Tell(error.Message);
            if (error.Hint is { } hint) CommandContext.Hint(hint);
            Debug(error);
            return (int)error.ExitCode;
        }
        catch (OperationCanceledException) when (interrupt.IsCancellationRequested)
        {
            CommandContext.Tell("interrupted");
            return (int)ExitCode.Interrupted;
        }
        catch (Exception error) when (error is LinuxException or IOException or UnauthorizedAccessException)
        {
            CommandContext.Tell(error.Message);
            Debug(error);
            return (int)ExitCode.Environment;
        }
        catch (Exception error)
        {
            CommandContext.Tell($"unexpected error: {error.GetType().Name}: {error.Message}");
            CommandContext.Hint("this is a bug; CRSTORE_DEBUG=1 shows where");
            Debug(error);
            return (int)ExitCode.Internal;
        }
    }

    private static void Debug(Exception error)
    {
        if (Environment.GetEnvironmentVariable("CRSTORE_DEBUG") == "1") Console.Error.WriteLine(error);
    }
}
