using System.CommandLine;
using System.CommandLine.Help;

namespace Crstore.Cli;

/// <summary>The command tree as a man page: man(7) macros.</summary>
internal sealed class ManPage(TextWriter output)
{
    /// <summary>Writes all of it.</summary>
    public void Write(RootCommand root)
    {
        var verbs = root.Subcommands.OfType<Verb>().Where(verb => !verb.Hidden).ToList();
        Macro("TH", "CRSTORE", "1", "", $"crstore {ProductVersion.Text}", "User Commands");
        Macro("SH", "NAME");
        Text($"crstore - {Uncapitalised(root.Description!)}");
        Macro("SH", "SYNOPSIS");
        Bold("crstore", "[--store DIR] VERB [OPTIONS]");
        Macro("SH", "DESCRIPTION");
        Text("crstore takes checkpoints of live processes into a store: a base first, then increments that hold only what changed. " +
            "Pages are stored once whatever process or checkpoint they come from, and every checkpoint (CRID) is restored as a whole, " +
            "wherever it lies in its chain. There is no daemon.");
        Macro("SH", "GLOBAL OPTIONS");
        Options(root);
        Macro("SH", "VERBS");
        foreach (var verb in verbs) Verb(verb);
        ExitStatus();
        Environment();
        HookSection();
        Files();
        Macro("SH", "SEE ALSO");
        Text("gdb(1), gcore(1), criu(8), ptrace(2), userfaultfd(2), proc(5)");
    }

    private void Verb(Verb verb)
    {
        Macro("SS", $"crstore {verb.Name}");
        Bold($"crstore {verb.Name}", Synopsis(verb));
        Macro("PP");
        Text(verb.Description!);
        foreach (var argument in verb.Arguments) Item(argument.HelpName ?? argument.Name, argument.Description);
        Options(verb);
        Macro("PP");
        Text("Exit codes: " + string.Join(", ", ExitCodes.Of(verb).Select(code => $"{(int)code}")) + ".");
        if (verb.Examples.Count == 0) return;
        Macro("PP");
        Text("Examples:");
        foreach (var example in verb.Examples)
        {
            Macro("PP");
            Text(example.Meaning + ":");
            Macro("RS", "4");
            Macro("EX");
            Text($"crstore {example.CommandLine}");
            Macro("EE");
            Macro("RE");
        }
    }

    private static string Synopsis(Verb verb)
    {
        var parts = new List<string>();
        foreach (var argument in verb.Arguments)
        {
            var name = argument.Arity.MaximumNumberOfValues > 1 ? $"{argument.Name}..." : argument.Name;
            parts.Add(argument.Arity.MinimumNumberOfValues == 0 ? $"[{name}]" : name);
        }
        parts.AddRange(verb.Options.Where(option => option.Required).Select(Usage));
        parts.Add("[OPTIONS]");
        return string.Join(' ', parts);
    }

    private static string Usage(Option option) =>
        option.Arity.MaximumNumberOfValues == 0 || option.ValueType == typeof(bool) || option is HelpOption or VersionOption
            ? option.Name
            : $"{option.Name} {option.HelpName ?? "VALUE"}";

    private void Options(Command command)
    {
        foreach (var option in command.Options.Where(option => !option.Hidden))
        {
            var names = string.Join(", ", option.Aliases.Where(alias => alias.StartsWith('-')).Order().Append(Usage(option)));
            Item(names, option.Description);
        }
    }

    private void ExitStatus()
    {
        Macro("SH", "EXIT STATUS");
        foreach (var code in ExitCodes.All) Item($"{(int)code}", ExitCodes.Meaning(code));
    }

    private void Environment()
    {
        Macro("SH", "ENVIRONMENT");
        Item("CRSTORE_STORE", "The store directory, if --store is not given.");
        Item("CRSTORE_MEMORY", "The tmpfs for capture --memory-only, instead of /dev/shm.");
        Item("XDG_STATE_HOME", "For users other than root: the store is $XDG_STATE_HOME/crstore, else ~/.local/state/crstore.");
        Item("CRSTORE_HOOKS_DIR", $"Where the hooks of every capture and restart are, instead of {Hooks.DefaultDirectory}.");
        Item("CRSTORE_DEBUG", "Set to 1 to see where an error came from.");
    }

    private void HookSection()
    {
        Macro("SH", "HOOKS");
        Text($"The executables in {Hooks.DefaultDirectory} are called before and after each capture and restart, in the order of their names, then those of --hook, with the stage as " +
            "their argument: pre-capture, post-capture, pre-restart or post-restart. One that fails before stops it. What they print goes to standard error. In their environment:");
        Item("CRSTORE_STAGE", "The stage.");
        Item("CRSTORE_STORE", "The store directory.");
        Item("CRSTORE_SERIES", "The series.");
        Item("CRSTORE_CRID", "The checkpoint.");
        Item("CRSTORE_PIDS", "The process ids, with blanks between them; after a restart those that the host sees.");
        Item("CRSTORE_RESULT", "Afterwards: ok or failed.");
    }

    private void Files()
    {
        Macro("SH", "FILES");
        Item(StoreLocation.SystemDirectory, "Root's store.");
        Item(Hooks.DefaultDirectory, "What is called around each capture and restart: see HOOKS.");
        Item("/run/crstore/targets", "Which processes are tracked, and when their dirty state was last reset (for others than root in /run/user/UID/crstore or /tmp/crstore-UID).");
    }

    private void Item(string term, string? description)
    {
        Macro("TP");
        Bold(term, "");
        Text(description ?? "");
    }

    private void Bold(string text, string rest) => output.WriteLine($"\\fB{Escaped(text)}\\fR {Escaped(rest)}".TrimEnd());

    private void Text(string text)
    {
        if (text.Length > 0) output.WriteLine(Escaped(text));
    }

    private void Macro(string name, params ReadOnlySpan<string> arguments)
    {
        output.Write($".{name}");
        foreach (var argument in arguments) output.Write($" \"{Escaped(argument).Replace("\"", "\\(dq", StringComparison.Ordinal)}\"");
        output.WriteLine();
    }

    /// <summary>groff_char(7): backslash and minus are special everywhere, '.' and ''' at the start of a line.</summary>
    private static string Escaped(string text)
    {
        var escaped = text.Replace("\\", "\\(rs", StringComparison.Ordinal).Replace("-", "\\-", StringComparison.Ordinal);
        return escaped is ['.' or '\'', ..] ? $"\\&{escaped}" : escaped;
    }

    private static string Uncapitalised(string text) => char.ToLowerInvariant(text[0]) + text[1..].TrimEnd('.');
}
