"""Runs inside gdb (batch mode): has the Ruby VM evaluate a line of code at its own next safe point.

Calls a few things in the stopped process, on its main thread: the mmap system call (one page for the code), and
rb_postponed_job_register_one(0, rb_eval_string, page); from Ruby 3.3 on, what that function does there itself:
handle = rb_postponed_job_preregister(0, rb_eval_string, page), rb_postponed_job_trigger(handle). These are Ruby's own
door for signal handlers: lock-free, allocate nothing, take no lock; the collector itself uses them. The VM runs the job where it checks for interrupts,
never inside the collector, malloc or a signal handler.

Not gdb's own `call`: that writes the vector registers too, which gdb before 14 cannot do on processors with AMX
("Couldn't write extended state status"), and then leaves the process with a broken system call. Here only general
registers change, and all of them are put back and compared. The callees use no vector registers; Ruby's are
disassembled to be sure.

Input: environment variables HEAPDUMP_{REGISTER,EVAL,SYSCALL}_ADDRESS, HEAPDUMP_TRIGGER_ADDRESS (then REGISTER is
rb_postponed_job_preregister), HEAPDUMP_{CURRENT,THREAD_MAIN}_ADDRESS (Ruby before 3.0: ruby_current_execution_context_ptr
and rb_thread_main), HEAPDUMP_CODE, HEAPDUMP_UNSAFE_RANGES.
Output: one line, `heapdump: registered|busy|failed <text>`. Always detaches.
"""

import os
import re
import struct

import gdb

REGISTERS = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags orig_rax".split()
MASK = (1 << 64) - 1
RED_ZONE_BYTES = 128
PAGE_BYTES = 4096
# mmap, mprotect, munmap, brk, mremap, madvise: the allocator may be half way through.
MEMORY_SYSCALLS = (9, 10, 11, 12, 25, 28)
MMAP = 9
DIRECTION_FLAG = 0x400
# POSTPONED_JOB_HANDLE_INVALID
INVALID_HANDLE = 0xFFFFFFFF
# Of RTypedData: data. Of rb_thread_t (2.7): self, ec. Of rb_execution_context_t (2.7): thread_ptr. Checked against each other.
DATA_AT, THREAD_SELF_AT, THREAD_CONTEXT_AT, CONTEXT_THREAD_AT = 32, 16, 32, 56


class Busy(Exception):
    """Not now: the thread is where even a signal handler would better not start."""


def innermost():
    """Registers are those of the selected frame, and a new stack pointer makes gdb select another: in an outer
    frame, `set var $rip` would write to the return address on the stack."""
    gdb.newest_frame().select()


def register(name):
    innermost()
    # The second column is hexadecimal for each of them; eflags has a type that no expression casts.
    return int(gdb.execute("info registers " + name, to_string=True).split()[1], 16) & MASK


def write_register(name, value):
    innermost()
    gdb.execute("set var $%s = 0x%x" % (name, value), to_string=True)


def check_place(registers, memory):
    at_syscall = registers["orig_rax"] != MASK and memory.read_memory(registers["rip"] - 2, 2).tobytes() == b"\x0f\x05"
    if at_syscall:
        if registers["orig_rax"] in MEMORY_SYSCALLS:
            raise Busy("the main thread is asking for memory")
        return
    for bounds in filter(None, os.environ["HEAPDUMP_UNSAFE_RANGES"].split(",")):
        low, high = (int(bound, 16) for bound in bounds.split("-"))
        if low <= registers["rip"] < high:
            raise Busy("the main thread runs in the C library or the loader")


def check_integer_only(address):
    """The function must leave the vector registers alone: nobody saves them."""
    for instruction in gdb.selected_inferior().architecture().disassemble(address, count=60):
        if re.search(r"%(?:[xyz]?mm|st)\d?", instruction["asm"]):
            raise RuntimeError("Ruby's postponed jobs use vector registers in this build of Ruby")
        if instruction["asm"].startswith("ret"):
            return


def map_page(registers, syscall_address):
    arguments = {"rax": MMAP, "rdi": 0, "rsi": PAGE_BYTES, "rdx": 3, "r10": 0x22, "r8": MASK, "r9": 0}
    for name, value in arguments.items():
        write_register(name, value)
    write_register("orig_rax", MASK)
    write_register("rsp", (registers["rsp"] - RED_ZONE_BYTES) & ~0xF)
    write_register("rip", syscall_address)
    gdb.execute("stepi", to_string=True)
    if register("rip") != syscall_address + 2:
        raise RuntimeError("stopped elsewhere during mmap: 0x%x" % register("rip"))
    page = register("rax")
    if page > MASK - 4096:
        raise RuntimeError("mmap failed with errno %d" % (MASK + 1 - page))
    return page


def call(registers, memory, function, arguments):
    """Calls a function, the return address being the place where the thread was stopped. Gives rax."""
    back = registers["rip"]
    stack = ((registers["rsp"] - RED_ZONE_BYTES) & ~0xF) - 8
    memory.write_memory(stack, struct.pack("<Q", back))
    for name, value in zip(("rdi", "rsi", "rdx"), arguments):
        write_register(name, value)
    write_register("rax", 0)
    write_register("orig_rax", MASK)
    write_register("eflags", registers["eflags"] & ~DIRECTION_FLAG)
    write_register("rsp", stack)
    write_register("rip", function)
    stop = gdb.Breakpoint("*0x%x" % back, internal=True)
    try:
        gdb.execute("continue", to_string=True)
    finally:
        stop.delete()
    if register("rip") != back or register("rsp") != stack + 8:
        raise RuntimeError("did not come back from 0x%x: stopped at 0x%x" % (function, register("rip")))
    return register("rax")


def word(memory, address):
    return struct.unpack("<Q", memory.read_memory(address, 8).tobytes())[0]


def main_context(registers, memory, thread_main):
    """The main thread's execution context; None where this build lays things out differently."""
    value = call(registers, memory, thread_main, ())
    try:
        thread = word(memory, value + DATA_AT)
        context = word(memory, thread + THREAD_CONTEXT_AT)
        agree = word(memory, thread + THREAD_SELF_AT) == value and word(memory, context + CONTEXT_THREAD_AT) == thread
    except gdb.MemoryError:
        return None
    return context if agree else None


def register_on_main(registers, memory, function, arguments):
    """Ruby before 3.0 notes a job for the thread that ran last, which may sleep until the end: signals wake only the
    main one. So that one is the current one during the call; all others stand still."""
    current, thread_main = (int(os.environ.get("HEAPDUMP_%s_ADDRESS" % name, "0"), 16) for name in ("CURRENT", "THREAD_MAIN"))
    context = main_context(registers, memory, thread_main) if current and thread_main else None
    if context is None:
        return call(registers, memory, function, arguments)
    before = word(memory, current)
    try:
        memory.write_memory(current, struct.pack("<Q", context))
        return call(registers, memory, function, arguments)
    finally:
        memory.write_memory(current, struct.pack("<Q", before))


def put_back(registers):
    for name in REGISTERS:
        write_register(name, registers[name])
    wrong = [name for name in REGISTERS if register(name) != registers[name]]
    if wrong:
        raise RuntimeError("could not put back " + ", ".join(wrong))


def main():
    gdb.execute("set scheduler-locking on")
    gdb.execute("handle all nostop noprint pass", to_string=True)
    gdb.execute("handle SIGTRAP SIGSEGV SIGBUS SIGILL SIGFPE SIGABRT stop nopass", to_string=True)
    memory = gdb.selected_inferior()
    main_thread = [thread for thread in memory.threads() if thread.ptid[1] in (0, memory.pid)]
    if not main_thread:
        raise RuntimeError("no main thread")
    main_thread[0].switch()
    function, evaluate, syscall = (
        int(os.environ["HEAPDUMP_%s_ADDRESS" % name], 16) for name in ("REGISTER", "EVAL", "SYSCALL")
    )
    code = os.environ["HEAPDUMP_CODE"].encode() + b"\0"
    if len(code) > PAGE_BYTES:
        raise RuntimeError("the code is too long for a page")
    trigger = int(os.environ.get("HEAPDUMP_TRIGGER_ADDRESS", "0"), 16)
    callees = [function] + ([trigger] if trigger else [])
    for callee in callees:
        check_integer_only(callee)
    registers = {name: register(name) for name in REGISTERS}
    check_place(registers, memory)
    if any(callee <= registers["rip"] < callee + 512 for callee in callees):
        raise Busy("the main thread is registering a job itself")
    try:
        page = map_page(registers, syscall)
        memory.write_memory(page, code)
        answer = register_on_main(registers, memory, function, (0, evaluate, page)) & 0xFFFFFFFF
        is_full = answer == (INVALID_HANDLE if trigger else 0)
        if trigger and not is_full:
            call(registers, memory, trigger, (answer,))
    finally:
        put_back(registers)
    if is_full:
        raise Busy("Ruby's table of postponed jobs is full")
    return "registered %d" % answer


try:
    outcome = main()
except Busy as reason:
    outcome = "busy %s" % reason
except Exception as error:  # Whatever it is: say so, and detach.
    outcome = "failed %s" % error
gdb.execute("detach", to_string=True)
print("heapdump: " + outcome)
