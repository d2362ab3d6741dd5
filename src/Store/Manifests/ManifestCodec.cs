using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Codec;
using Google.Protobuf;

namespace Crstore.Store.Manifests;

/// <summary>
/// The stored form of a checkpoint's header and body: version, mark ('H' or 'B'), the protobuf message, and a CRC-32C of
/// all that which starts from the CRID. Protobuf alone would turn a flipped bit into another, valid manifest.
/// </summary>
public static class ManifestCodec
{
    private const byte Version = 1;
    private const byte HeaderMark = (byte)'H';
    private const byte BodyMark = (byte)'B';
    private const int Frame = 2 + Crc32C.Size;

    /// <summary>Encodes a header.</summary>
    /// <exception cref="EnvironmentException">It is larger than the format allows.</exception>
    public static byte[] EncodeHeader(CheckpointHeader header, FormatLimits? limits = null)
    {
        limits ??= FormatLimits.Default;
        return Encode(new Crid(header.Crid), HeaderMark, header, ManifestRules.Check(header, limits), limits.MaxHeaderBytes);
    }

    /// <summary>Encodes a body.</summary>
    /// <exception cref="EnvironmentException">It is larger than the format allows.</exception>
    public static byte[] EncodeBody(CheckpointBody body, FormatLimits? limits = null)
    {
        limits ??= FormatLimits.Default;
        return Encode(new Crid(body.Crid), BodyMark, body, ManifestRules.Check(body, limits), limits.MaxBodyBytes);
    }

    /// <summary>Decodes the header that is stored for a CRID.</summary>
    /// <exception cref="StoreDamagedException">It is not one, or another CRID's.</exception>
    public static CheckpointHeader DecodeHeader(Crid crid, ReadOnlySpan<byte> bytes, FormatLimits? limits = null)
    {
        limits ??= FormatLimits.Default;
        var header = Decode(crid, HeaderMark, bytes, limits.MaxHeaderBytes, CheckpointHeader.Parser);
        if (header.Crid != crid.Value) throw Damaged(crid, HeaderMark, $"it says CRID {header.Crid}");
        return ManifestRules.Check(header, limits) is { } reason ? throw Damaged(crid, HeaderMark, reason) : header;
    }

    /// <summary>Decodes the body that is stored for a CRID.</summary>
    /// <exception cref="StoreDamagedException">It is not one, or another CRID's.</exception>
    public static CheckpointBody DecodeBody(Crid crid, ReadOnlySpan<byte> bytes, FormatLimits? limits = null)
    {
        limits ??= FormatLimits.Default;
        var body = Decode(crid, BodyMark, bytes, limits.MaxBodyBytes, CheckpointBody.Parser);
        if (body.Crid != crid.Value) throw Damaged(crid, BodyMark, $"it says CRID {body.Crid}");
        return ManifestRules.Check(body, limits) is { } reason ? throw Damaged(crid, BodyMark, reason) : body;
    }

    private static byte[] Encode(Crid crid, byte mark, IMessage message, string? broken, int limit)
    {
        var size = message.CalculateSize();
        if (size > limit) broken ??= $"{size} bytes, and the format allows {limit}";
        if (broken is not null) throw new EnvironmentException($"{Name(crid, mark)} can't be stored: {broken}");
        var bytes = new byte[size + Frame];
        bytes[0] = Version;
        bytes[1] = mark;
        message.WriteTo(bytes.AsSpan(2, size));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(2 + size), Crc32C.Of(bytes.AsSpan(0, 2 + size), crid.Value, mark));
        return bytes;
    }

    private static T Decode<T>(Crid crid, byte mark, ReadOnlySpan<byte> bytes, int limit, MessageParser<T> parser)
        where T : class, IMessage<T>
    {
        if (bytes.IsEmpty) throw Damaged(crid, mark, "missing");
        if (bytes.Length < Frame) throw Damaged(crid, mark, "too short");
        if (bytes.Length - Frame > limit) throw Damaged(crid, mark, $"{bytes.Length} bytes are more than {limit}");
        if (bytes[0] != Version) throw Damaged(crid, mark, $"unknown version {bytes[0]}");
        if (bytes[1] != mark) throw Damaged(crid, mark, $"marked {bytes[1]}");
        if (Crc32C.Of(bytes[..^Crc32C.Size], crid.Value, mark) != BinaryPrimitives.ReadUInt32LittleEndian(bytes[^Crc32C.Size..]))
            throw Damaged(crid, mark, "wrong checksum");
        try
        {
            return parser.ParseFrom(bytes[2..^Crc32C.Size]);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new StoreDamagedException($"{Name(crid, mark)}: {e.Message}", inner: e);
        }
    }

    private static string Name(Crid crid, byte mark) => $"the {(mark == HeaderMark ? "header" : "body")} of CRID {crid}";

    private static StoreDamagedException Damaged(Crid crid, byte mark, string what) => new($"{Name(crid, mark)}: {what}");
}
