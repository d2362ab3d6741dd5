using System.Globalization;
using System.Text;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Capture.Tracking;

/// <summary>
/// The generation record of a target: whoever resets its dirty state first puts a fresh random nonce here (a bump), so that
/// everybody else's proof of continuity stops matching. The bump is made in the freeze, right before the first reset, and the
/// others' records are read there too: two freezes of one target exclude each other, so no reset goes unnoticed.
/// A capture that fails after its bump breaks the chain by itself. docs/ARCHITECTURE.md, "Continuity".
/// </summary>
public sealed class ContinuityRecord : IDisposable
{
    private const int NonceBytes = 16;
    private const int FileBytes = 512;
    private static ReadOnlySpan<byte> Magic => "crstore-target 1"u8;
    private const int SweepEvery = 16;
    private static int swept;
    private const long HolderOffset = FileBytes; // behind what others read, for those who wait

    private readonly TargetIdentity _target;
    private readonly string _bootId;
    private readonly byte[] _boot;
    private readonly ContinuityPlace _own;
    private readonly IReadOnlyList<ContinuityPlace> _places;
    private readonly byte[] _readBuffer = new byte[FileBytes];
    private readonly string _path;
    private SafeFileHandle? _file;
    private ulong _generation;
    private byte[] _prepared = [];
    private byte[] _nextNonce = [];

    private ContinuityRecord(TargetIdentity target, string bootId, ContinuityPlace own)
    {
        _target = target;
        _bootId = bootId;
        _boot = Encoding.ASCII.GetBytes(bootId);
        _own = own;
        _places = ContinuityPlace.For(target.Uid);
        _path = own.RecordOf(target.Pid, target.StartTimeTicks);
    }

    /// <summary>fd number of the userfaultfd that a crstore of this user parked in the target; 0 if none.</summary>
    public int ParkedFd { get; private set; }

    /// <summary>Its inode, which is unique to it.</summary>
    public ulong ParkedInode { get; private set; }

    /// <summary>The nonce of the last bump, as found; empty if there was none.</summary>
    public string Nonce { get; private set; } = "";

    /// <summary>The nonce of the bump that was prepared last.</summary>
    public string NextNonce => Convert.ToHexStringLower(_nextNonce);

    /// <summary>Where the soft-dirty tracker keeps its frame numbers.</summary>
    public string FramesPath => _path + ".frames";

    /// <summary>Opens and locks the record. Released by <see cref="Release"/>.</summary>
    /// <param name="target">Whose.</param>
    /// <param name="bootId">This boot.</param>
    /// <param name="verb">What it is opened for, for those who have to wait meanwhile.</param>
    /// <param name="wait">How to wait for whoever holds it now.</param>
    /// <exception cref="StoreBusyException">Another capture of the target holds it.</exception>
    /// <exception cref="LinuxException">The directory can't be used.</exception>
    public static ContinuityRecord Open(TargetIdentity target, string bootId, string verb, LockWait wait)
    {
        var uid = ThisProcess.EffectiveUser();
        var own = ContinuityPlace.Own(uid, target.Uid) with { Owner = uid };
        own.Create();
        // Once in a process, for a tree has many targets; and not in each: thousands of markers take longer than all the rest of a small capture's preparation.
        if (Interlocked.Exchange(ref swept, 1) == 0 && Random.Shared.Next(SweepEvery) == 0) own.Sweep(bootId);
        var record = new ContinuityRecord(target, bootId, own);
        try
        {
            record.Lock(verb, wait);
            record.Load();
            return record;
        }
        catch
        {
            record.Dispose();
            throw;
        }
    }

    /// <summary>True if it is this process's, not that of an earlier one with the same pid.</summary>
    public bool IsOf(TargetIdentity target) => target.Pid == _target.Pid && target.StartTimeTicks == _target.StartTimeTicks;

    /// <summary>Reads again what was written since, by us: it is locked.</summary>
    public void Reload() => Load();

    /// <summary>The nonces of all places, in fixed order: what a manifest keeps and the next capture compares.</summary>
    public byte[] ReadToken()
    {
        var token = new byte[_places.Count * NonceBytes];
        for (var i = 0; i < _places.Count; i++)
            ReadNonce(_places[i], token.AsSpan(i * NonceBytes, NonceBytes));
        return token;
    }

    /// <summary>What <see cref="ReadToken"/> would give after our <see cref="Bump"/>: nobody else can make one in the freeze.</summary>
    /// <param name="before">As it was read in this freeze before the bump.</param>
    public byte[] TokenAfterBump(ReadOnlySpan<byte> before)
    {
        var token = before.ToArray();
        for (var i = 0; i < _places.Count; i++)
            if (_places[i] == _own) _nextNonce.CopyTo(token, i * NonceBytes);
        return token;
    }

    /// <summary>Gets the next bump ready, so that nothing is computed in the freeze.</summary>
    public void PrepareBump(Guid store, Crid crid, int parkedFd, ulong parkedInode)
    {
        KernelRandom.Fill(_nextNonce = new byte[NonceBytes]);
        var text = string.Create(CultureInfo.InvariantCulture,
            $"crstore-target 1\nnonce {NextNonce}\nboot {_bootId}\ngeneration {_generation + 1}\nstore {store}\ncrid {crid}\nuffd {parkedFd} {parkedInode}\n");
        _prepared = Encoding.ASCII.GetBytes(text.PadRight(FileBytes, '\n'));
    }

    /// <summary>In the freeze, before the first reset: from here on nobody's older proof holds.</summary>
    /// <exception cref="LinuxException">It could not be written: then nothing may be reset.</exception>
    public void Bump() => FileCalls.WriteAt(_file!, _prepared, 0, _path);

    /// <summary>Remembers a userfaultfd that is about to be parked, before it is: no crash may leave one that looks foreign.</summary>
    public void Park(Guid store, Crid crid, int fd, ulong inode)
    {
        RawFile.Open(_own.MarkerOf(inode, _bootId), RawOpen.WriteOnly | RawOpen.Create | RawOpen.NoFollow, 0x1A4 /* 0644 */).Dispose();
        ParkedFd = fd;
        ParkedInode = inode;
        PrepareBump(store, crid, fd, inode);
        Bump();
    }

    /// <summary>Nothing is parked any more.</summary>
    public void Unpark()
    {
        ParkedFd = 0;
        ParkedInode = 0;
        PrepareBump(Guid.Empty, Crid.None, 0, 0);
        Bump();
    }

    /// <summary>True if a userfaultfd with that inode was parked by crstore, in this process or in the one it was forked from.</summary>
    public bool IsOurs(ulong uffdInode)
    {
        foreach (var place in _places)
            if (TryReadFile(place.MarkerOf(uffdInode, _bootId), place.Owner, out _))
                return true;
        return false;
    }

    /// <summary>Lets the next capture of the target go on.</summary>
    public void Release()
    {
        _file?.Dispose();
        _file = null;
    }

    /// <inheritdoc/>
    public void Dispose() => Release();

    private void Lock(string verb, LockWait wait)
    {
        SafeFileHandle? file = null;
        try
        {
            wait.Until(TryLock, () => LockWait.HolderOf(file!, _path, HolderOffset), $"process {_target.Pid}");
            LockWait.WriteHolder(file!, _path, $"{verb} of process {_target.Pid}", HolderOffset);
            (_file, file) = (file, null);
        }
        finally
        {
            file?.Dispose();
        }

        // Opened anew each time: a sweep may have removed the file.
        bool TryLock()
        {
            file?.Dispose();
            file = null;
            file = RawFile.Open(_path, RawOpen.ReadWrite | RawOpen.Create | RawOpen.NoFollow, 0x1A4 /* 0644 */);
            return FileCalls.TryLock(file, shared: false, _path);
        }
    }

    private void Load()
    {
        if (_own.Owner == 0) File.SetUnixFileMode(_path, (UnixFileMode)0b110_100_100); // others must see root's resets
        var length = FileCalls.ReadAt(_file!, _readBuffer, 0, _path);
        var content = _readBuffer.AsSpan(0, length);
        if (!IsOfThisBoot(content)) return;
        Nonce = Encoding.ASCII.GetString(Field(content, "nonce"u8));
        _ = ulong.TryParse(Field(content, "generation"u8), NumberStyles.None, CultureInfo.InvariantCulture, out _generation);
        var parked = Encoding.ASCII.GetString(Field(content, "uffd"u8)).Split(' ');
        if (parked.Length == 2 && int.TryParse(parked[0], NumberStyles.None, CultureInfo.InvariantCulture, out var fd)
            && ulong.TryParse(parked[1], NumberStyles.None, CultureInfo.InvariantCulture, out var inode))
            (ParkedFd, ParkedInode) = (fd, inode);
    }

    private void ReadNonce(ContinuityPlace place, Span<byte> nonce)
    {
        nonce.Clear();
        if (!TryReadFile(place.RecordOf(_target.Pid, _target.StartTimeTicks), place.Owner, out var length) || length <= 0) return;
        var content = _readBuffer.AsSpan(0, length);
        if (!IsOfThisBoot(content) || Field(content, "nonce"u8) is not { Length: NonceBytes * 2 } hex) return;
        if (Convert.FromHexString(hex, nonce, out _, out _) != System.Buffers.OperationStatus.Done) nonce.Clear();
    }

    // The other places belong to somebody else: no links, no FIFOs, only files of the right owner.
    private bool TryReadFile(string path, uint owner, out int length)
    {
        length = 0;
        if (RawFile.TryOpen(path, RawOpen.NoFollow | RawOpen.NonBlock, 0, out var file) != 0) return false;
        using (file)
        {
            var status = FileStatus.Of(file!);
            if (!status.IsRegular || status.Uid != owner) return false;
            length = RawFile.TryReadAt(file!, _readBuffer, 0);
            return true;
        }
    }

    // False for anything that is not a whole record of this boot: it then counts as none.
    private bool IsOfThisBoot(ReadOnlySpan<byte> content) =>
        content.Length == FileBytes && content.StartsWith(Magic) && content[Magic.Length] == (byte)'\n' && Field(content, "boot"u8).SequenceEqual(_boot);

    // Empty where there is none. Read in the freeze: nothing is allocated.
    private static ReadOnlySpan<byte> Field(ReadOnlySpan<byte> content, ReadOnlySpan<byte> name)
    {
        while (!content.IsEmpty)
        {
            var end = content.IndexOf((byte)'\n');
            var line = end < 0 ? content : content[..end];
            if (line.Length > name.Length && line.StartsWith(name) && line[name.Length] == (byte)' ') return line[(name.Length + 1)..];
            content = end < 0 ? default : content[(end + 1)..];
        }

        return default;
    }
}
