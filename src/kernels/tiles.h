/* Sizes of tiles by instruction set: sums and their operands fit 32 registers with AVX-512 and NEON, else 16. */
#ifndef FASTAR_TILES_H
#define FASTAR_TILES_H

#if defined(__AVX512F__) || defined(FASTAR_WITH_NEON)
#define BY_REGISTERS(of_16, of_32) of_32
#else
#define BY_REGISTERS(of_16, of_32) of_16
#endif

enum {
    /* product.h: rows of data, by two vectors of columns: 24 or 12 sums */
    TILE = BY_REGISTERS(6, 12),
    /* masked_blocks.h: vectors of sums of one row of data, at most */
    PUSH_TILE = BY_REGISTERS(8, 16),
    /* nade_outputs.h: outputs, by FEW_ROWS rows of data, where there are few */
    OUT_TILE = BY_REGISTERS(2, 4),
    /* nade_outputs.h: rows of data, by OUT_PANEL outputs: 24 sums, 6 vectors of rows and one of V, or 12, 3 and one; */
    ROW_TILE = BY_REGISTERS(3, 6),
    /* rows come in multiples of it without tiles of one row */
    ROW_STEP = BY_REGISTERS(3, 2),
    /* nade_few.h: outputs whose rows of V and gV take half of the registers */
    PACE = BY_REGISTERS(2, 4),
    /* nade_backward.h: vectors of hidden units */
    WIDTH = BY_REGISTERS(2, 4),
};

#endif
