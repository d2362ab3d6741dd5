using System.Text.Encodings.Web;
using System.Text.Json;

namespace Crstore.Cli;

/// <summary>
/// JSON written by hand: no reflection, so that start-up stays fast. Names are snake_case and stable; addresses are
/// hexadecimal strings (64 bits do not fit every reader's numbers), CRIDs and counters are numbers.
/// </summary>
internal static class JsonOutput
{
    private static readonly JsonWriterOptions Style = new()
    {
        Indented = true,
        NewLine = "\n",
        // For a pipe or a file, never inside HTML: names stay readable.
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static readonly JsonWriterOptions LineStyle = Style with { Indented = false };

    /// <summary>Writes one object on a line of its own, at once: for a reader that takes line by line.</summary>
    public static void Line(CommandContext context, Action<Utf8JsonWriter> members)
    {
        Write(context, LineStyle, json => WriteObject(json, members));
        context.Out.Flush();
    }

    /// <summary>Writes one object.</summary>
    public static void Object(CommandContext context, Action<Utf8JsonWriter> members) => Write(context, Style, json => WriteObject(json, members));

    /// <summary>Writes one array.</summary>
    public static void Array<T>(CommandContext context, IEnumerable<T> items, Action<Utf8JsonWriter, T> write) =>
        Write(context, Style, json => WriteArray(json, items, write));

    private static void Write(CommandContext context, JsonWriterOptions style, Action<Utf8JsonWriter> content)
    {
        context.Out.Flush();
        using (var json = new Utf8JsonWriter(context.StandardOutput, style)) content(json);
        context.Out.Write('\n');
    }

    /// <summary>A member that is an array of objects.</summary>
    public static void Objects<T>(this Utf8JsonWriter json, string name, IEnumerable<T> items, Action<Utf8JsonWriter, T> members)
    {
        json.WritePropertyName(name);
        WriteArray(json, items, (writer, item) => WriteObject(writer, inner => members(inner, item)));
    }

    /// <summary>A member that is an array of strings.</summary>
    public static void Strings(this Utf8JsonWriter json, string name, IEnumerable<string> items)
    {
        json.WritePropertyName(name);
        WriteArray(json, items, static (writer, item) => writer.WriteStringValue(item));
    }

    /// <summary>A member that is an address: a hexadecimal string.</summary>
    public static void Address(this Utf8JsonWriter json, string name, ulong address) => json.WriteString(name, $"0x{address:x}");

    private static void WriteObject(Utf8JsonWriter json, Action<Utf8JsonWriter> members)
    {
        json.WriteStartObject();
        members(json);
        json.WriteEndObject();
    }

    private static void WriteArray<T>(Utf8JsonWriter json, IEnumerable<T> items, Action<Utf8JsonWriter, T> write)
    {
        json.WriteStartArray();
        foreach (var item in items) write(json, item);
        json.WriteEndArray();
    }
}
