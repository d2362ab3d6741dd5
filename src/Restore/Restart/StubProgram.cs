using System.Buffers.Binary;
using Crstore.Model;

namespace Crstore.Restore.Restart;

/// <summary>
/// The program that every restarted process begins as: a static ELF file with a pause loop and the code of
/// <see cref="Puppet"/>, which makes the system calls that it finds in a table and then stops itself.
/// </summary>
internal static class StubProgram
{
    /// <summary>Of the file's one segment and of the workplace in a puppet.</summary>
    public const int Size = 64 * 1024;

    /// <summary>Offset of the code that makes calls: rbx is the table, r12 their number, r13 and r14 the puppet's pid and tid.</summary>
    public const int CallsOffset = 0x200;

    /// <summary>Offset of the syscall instruction in that code.</summary>
    public const int SyscallInCalls = 0x20;

    /// <summary>Offset of the table of calls.</summary>
    public const int TableOffset = 0x1000;

    /// <summary>Calls in the table at most.</summary>
    public const int MaxCalls = 256;

    /// <summary>A call: number, six arguments, result.</summary>
    public const int CallSize = 64;

    /// <summary>Offset of the calls' data.</summary>
    public const int DataOffset = TableOffset + MaxCalls * CallSize;

    /// <summary>Offset of the code of a pid namespace's first process: rbx is the restarted root's id, rbp has room for a status.</summary>
    public const int InitOffset = 0x300;

    private const int PauseOffset = 0x100;

    // mov eax, 157 (prctl); mov edi, 1 (PR_SET_PDEATHSIG); mov esi, 9 (SIGKILL); syscall: until it is traced nobody else would end it.
    // pause: mov eax, 34; syscall; jmp pause
    private static ReadOnlySpan<byte> Pause =>
        [0xb8, 0x9d, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 9, 0, 0, 0, 0x0f, 0x05, 0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];

    /*
       next: test r12, r12; jz stop
             mov rax, [rbx]; mov rdi, [rbx+8]; mov rsi, [rbx+16]; mov rdx, [rbx+24]; mov r10, [rbx+32]; mov r8, [rbx+40]; mov r9, [rbx+48]
             syscall
             mov [rbx+56], rax
             add rbx, 64; dec r12
             cmp rax, -4095; jb next        unsigned: not an error
             (an error ends the table: what comes next may depend on it)
       stop: mov eax, 234 (tgkill); mov rdi, r13; mov rsi, r14; mov edx, 19 (SIGSTOP); syscall
             jmp stop
       SIGSTOP can't be blocked, and a tracer that takes it away leaves no trace of it; int3 would reset a handler of SIGTRAP.
    */
    private static ReadOnlySpan<byte> Calls =>
    [
        0x4d, 0x85, 0xe4, 0x74, 0x30,
        0x48, 0x8b, 0x03, 0x48, 0x8b, 0x7b, 0x08, 0x48, 0x8b, 0x73, 0x10, 0x48, 0x8b, 0x53, 0x18,
        0x4c, 0x8b, 0x53, 0x20, 0x4c, 0x8b, 0x43, 0x28, 0x4c, 0x8b, 0x4b, 0x30,
        0x0f, 0x05,
        0x48, 0x89, 0x43, 0x38,
        0x48, 0x83, 0xc3, 0x40,
        0x49, 0xff, 0xcc,
        0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff,
        0x72, 0xcb,
        0xb8, 0xea, 0, 0, 0,
        0x4c, 0x89, 0xef,
        0x4c, 0x89, 0xf6,
        0xba, 0x13, 0, 0, 0,
        0x0f, 0x05,
        0xeb, 0xec,
    ];

    /*
       wait: mov eax, 61 (wait4); mov rdi, -1; mov rsi, rbp; xor edx, edx; xor r10d, r10d; syscall
             cmp rax, rbx; jne other
             mov r12d, [rbp]
       other: cmp rax, -10 (ECHILD); jne wait
             mov edi, r12d; and edi, 0x7f; jz code
             add edi, 128; jmp exit
       code: mov edi, r12d; shr edi, 8; and edi, 255
       exit: mov eax, 231 (exit_group); syscall
    */
    private static ReadOnlySpan<byte> Init =>
    [
        0xb8, 0x3d, 0, 0, 0,
        0x48, 0xc7, 0xc7, 0xff, 0xff, 0xff, 0xff,
        0x48, 0x89, 0xee,
        0x31, 0xd2,
        0x45, 0x31, 0xd2,
        0x0f, 0x05,
        0x48, 0x39, 0xd8, 0x75, 0x04,
        0x44, 0x8b, 0x65, 0,
        0x48, 0x83, 0xf8, 0xf6, 0x75, 0xdb,
        0x44, 0x89, 0xe7, 0x83, 0xe7, 0x7f, 0x74, 0x08,
        0x81, 0xc7, 0x80, 0, 0, 0, 0xeb, 0x0c,
        0x44, 0x89, 0xe7, 0xc1, 0xef, 0x08, 0x81, 0xe7, 0xff, 0, 0, 0,
        0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05,
    ];

    /// <summary>The code of a workplace, to be written to its start.</summary>
    public static byte[] Code()
    {
        var code = new byte[InitOffset + Init.Length];
        Pause.CopyTo(code.AsSpan(PauseOffset));
        Calls.CopyTo(code.AsSpan(CallsOffset));
        Init.CopyTo(code.AsSpan(InitOffset));
        return code;
    }

    /// <summary>The ELF file, to be loaded at an address of the caller's choice.</summary>
    public static byte[] Elf(ulong address)
    {
        // Elf64_Ehdr and one Elf64_Phdr, elf(5): ET_EXEC, EM_X86_64, one PT_LOAD with rwx.
        var file = new byte[Size];
        Code().CopyTo(file, 0);
        ReadOnlySpan<byte> ident = [0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1];
        ident.CopyTo(file);
        U16(16, 2);
        U16(18, 62);
        U32(20, 1);
        U64(24, address + PauseOffset);
        U64(32, 64);
        U16(52, 64);
        U16(54, 56);
        U16(56, 1);
        U16(58, 64);
        U32(64, 1);
        U32(68, 7);
        U64(80, address);
        U64(88, address);
        U64(96, Size);
        U64(104, Size);
        U64(112, VirtualPage.Size);
        return file;

        void U16(int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(at), value);
        void U32(int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(at), value);
        void U64(int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(at), value);
    }
}
