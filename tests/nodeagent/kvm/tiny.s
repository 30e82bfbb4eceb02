# A guest in one boot sector, for tests of the hypervisor. It writes to the first serial port:
#
#   TINY boot        once, when it starts
#   TINY 000001      a number that rises about four times a second, kept in memory only: where it
#                    goes on counting, the memory came along
#   x                what is sent to it, as it came; with ! it powers itself off, and from w on
#                    it writes to a part of its memory all the time
#   TINY off         when its power button is pressed (ACPI); then it powers itself off
#
# It lets go of every PCI device that is to be unplugged (on the machine `pc`).
# After one boot it counts in sector 1 of its disk how often it has booted ("TINY disk 0002").
# Assembled by tests/nodeagent/kvm/tiny.py.

        .code16
        .globl  _start

        .set    COM1, 0x3f8
        .set    LINE_STATUS, COM1 + 5
        .set    PM1_STATUS, 0x600       # where SeaBIOS puts the registers, on pc and on q35
        .set    PM1_ENABLE, 0x602
        .set    PM1_CONTROL, 0x604
        .set    POWER_BUTTON, 0x100
        .set    SLEEP_S5, 0x2000        # SLP_EN, and SLP_TYP 0, which is S5 in QEMU
        .set    PCI_DOWN, 0xae04        # QEMU's docs/specs/acpi_pci_hotplug
        .set    PCI_EJECT, 0xae08
        .set    PCI_SELECT, 0xae10
        .set    TICKS, 0x46c            # of the BIOS clock, 18.2 a second
        .set    SECTOR, 0x7e00          # where sector 1 is read to

_start: xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $_start, %sp
        movb    %dl, drive
        cld
        sti
        movw    $PM1_ENABLE, %dx        # else the button is not seen
        movw    $POWER_BUTTON, %ax
        outw    %ax, %dx
        movw    $boot, %si
        call    puts
        movb    $0x42, %ah              # read sector 1
        call    disk
        movw    $SECTOR + 3, %di
        call    count
        movb    $0x43, %ah              # and write it back
        call    disk
        movw    $ondisk, %si
        call    puts
        movw    $SECTOR, %si
        call    puts
        movw    $newline, %si
        call    puts

loop:   movw    $PM1_STATUS, %dx
        inw     %dx, %ax
        cmpw    $-1, %ax                # without ACPI there is nothing
        je      9f
        testw   $POWER_BUTTON, %ax
        jnz     off
9:      movw    $PCI_SELECT, %dx
        xorl    %eax, %eax
        outl    %eax, %dx
        movw    $PCI_DOWN, %dx
        inl     %dx, %eax               # a bit for each slot that is to be unplugged
        testl   %eax, %eax
        jz      8f
        cmpl    $-1, %eax
        je      8f
        movw    $PCI_EJECT, %dx
        outl    %eax, %dx
8:      movw    $LINE_STATUS, %dx
        inb     %dx, %al
        testb   $1, %al                 # something was sent
        jz      1f
        movw    $COM1, %dx
        inb     %dx, %al
        cmpb    $'!', %al
        je      off
        cmpb    $'w', %al
        jne     6f
        incb    busy
6:      call    putc
1:      cmpb    $0, busy
        jne     write
        hlt                             # until the clock ticks
next:   movw    TICKS, %ax
        cmpw    last, %ax
        je      loop
        movw    %ax, last
        decb    left
        jnz     loop
        movb    $4, left
        movw    $digits + 5, %di
        call    count
        movw    $tick, %si
        call    puts
        jmp     loop

write:  movw    $0x1000, %ax            # one byte in each page from 64 KiB to 576 KiB
7:      movw    %ax, %es
        incb    %es:0
        addw    $0x100, %ax
        cmpw    $0x9000, %ax
        jne     7b
        xorw    %ax, %ax
        movw    %ax, %es
        jmp     next

off:    movw    $bye, %si
        call    puts
        movw    $PM1_CONTROL, %dx
        movw    $SLEEP_S5, %ax
        outw    %ax, %dx
2:      hlt
        jmp     2b

# Add one to the decimal number whose last digit is at %di. A zero byte counts as the digit 0.
count:  orb     $'0', (%di)
        incb    (%di)
        cmpb    $'9', (%di)
        jbe     3f
        movb    $'0', (%di)
        decw    %di
        jmp     count
3:      ret

# BIOS call %ah on sector 1, by its extended interface.
disk:   movb    drive, %dl
        movw    $packet, %si
        movb    $0, %al
        int     $0x13
        ret

puts:   lodsb
        testb   %al, %al
        jz      5f
        call    putc
        jmp     puts
putc:   pushw   %ax
        movw    $LINE_STATUS, %dx
4:      inb     %dx, %al
        testb   $0x20, %al              # room for one more
        jz      4b
        popw    %ax
        movw    $COM1, %dx
        outb    %al, %dx
5:      ret

drive:  .byte   0
last:   .word   0
left:   .byte   4
busy:   .byte   0
packet: .byte   16, 0
        .word   1, SECTOR, 0
        .quad   1
boot:   .asciz  "TINY boot\r\n"
ondisk: .asciz  "TINY disk "
bye:    .asciz  "TINY off\r\n"
tick:   .ascii  "TINY "
digits: .ascii  "000000"
newline: .asciz "\r\n"

        .org    510
        .word   0xaa55
