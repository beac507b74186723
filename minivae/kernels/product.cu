// Small matrix products in CUDA C, float32 on tensor cores, by all blocks of a launch or by some of them.  dense.cu makes layers with
// them, and whole.cu trainings.  Compiled together with kernels.cu, which comes first.

// A tile of a result has 16 x 32 numbers: four of the tensor cores' 16 x 8.  `split` warps divide the terms of its sums among them,
// sixteen at a time, and their sums are added in the order of the warps, so equal inputs give equal results, bit for bit.
#define TILE_ROWS 16
#define TILE_COLUMNS 32
#define TERMS 16
#define PITCH 36         // floats from row to row of a tile in shared memory: rows begin in different banks, at multiples of 16 bytes
#define WARPS 16         // most warps in a block
#define THREADS (32 * WARPS)
#define STAGE (WARPS * TILE_ROWS * PITCH)

// Tensor cores multiply numbers of 11 significant bits and add in float32.  They ignore the lower 13 bits of a float32.  A number is
// its upper part, rounded to 11 bits, plus the exact rest, of which they take the first 11 bits again; so three of their products,
// high high + high low + low high, make one float32 product (Markidis et al. 2018; "3xTF32").
struct Halves {
    u32 high, low;
};

#ifdef __CUDACC__
// sum += a b, by a warp.  Lane 4 g + t holds rows g and g + 8 of a (16 x 8) in columns t and t + 4, rows t and t + 4 of b (8 x 8) in
// column g, and rows g and g + 8 of the sum (16 x 8) in columns 2 t and 2 t + 1.
__device__ void multiply(float sum[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ float to_float(u32 bits) { return __uint_as_float(bits); }
__device__ u32 to_bits(float x) { return __float_as_uint(x); }
#endif

__device__ Halves halves(float x) {  // of a NaN, the rest is one
    u32 high = (to_bits(x) + 0x1000) & ~0x1fffu;
    return {high, to_bits(x - to_float(high))};
}

// A matrix that is a factor of a product.
struct Matrix {
    const float* at;
    int rows, columns;
    bool ones;  // whether a column of ones, the factor of the bias, follows the others
};

__device__ Four load_wide(const float* from) {
    float4 wide = *(const float4*)from;
    return {{wide.x, wide.y, wide.z, wide.w}};
}

__device__ void store_wide(float* to, Four four) { *(float4*)to = {four[0], four[1], four[2], four[3]}; }

// Load a lane's part of a factor: terms `term` to `term` + 3 of COUNT neighbouring lines of the result (rows for a, columns for b).
// ACROSS: the terms of a line are a row apart in memory, and neighbouring lines side by side; otherwise the other way round.  Beyond
// the edges it loads the numbers at the edge.  WIDE: numbers that lie side by side are loaded in one access.
template <int COUNT, bool ACROSS, bool WIDE>
__device__ void load_terms(const Matrix& from, int line, int term, int terms, Four* result) {
    EACH_OF_FOUR(c) {
        if (ACROSS) {
            const float* row = from.at + (size_t)min(term + c, terms - 1) * from.columns;
            if (WIDE && COUNT == 4) {
                Four four = load_wide(row + min(line, from.columns - 4));
                EACH_OF_FOUR(l) result[l % COUNT][c] = four[l];
            } else if (WIDE) {
                float2 two = *(const float2*)(row + min(line, from.columns - 2));
                result[0][c] = two.x;
                result[1][c] = two.y;
            } else {
#pragma unroll
                for (int l = 0; l < COUNT; ++l) result[l][c] = row[min(line + l, from.columns - 1)];
            }
        } else if (c < COUNT) {
            const float* row = from.at + (size_t)min(line + c, from.rows - 1) * from.columns;
            if (WIDE) result[c] = load_wide(row + min(term, terms - 4));
            else EACH_OF_FOUR(l) result[c][l] = row[min(term + l, terms - 1)];
        }
    }
}

// Compute a warp's share of a tile of a b (A_T: of a' b, B_T: of a b') and store it in `area`, the warp's own TILE_ROWS x PITCH floats.
// Numbers beyond the edges are meaningless, and the tile drops them.  Rows g and g + 8 of the tensor cores are rows 2 g and 2 g + 1 of
// the tile, column c of their j-th part is column 4 c + j, and their terms t and t + 4 are neighbours, so that each lane loads numbers
// that lie side by side.
template <bool A_T, bool B_T, bool WIDE>
__device__ void add_share(const Matrix& a, const Matrix& b, int row, int column, int terms, int share, int split, float* area) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float sum[4][4] = {};
#pragma unroll 1  // the operands of two rounds at a time would not fit the registers
    for (int first = TERMS * share; first < terms; first += TERMS * split) {
        int term = first + 4 * t;
        Four left[2], right[4];
        load_terms<2, A_T, WIDE>(a, row + 2 * g, term, terms, left);
        load_terms<4, !B_T, WIDE>(b, column + 4 * g, term, terms, right);
        if (first + TERMS > terms || (A_T && a.ones && row + TILE_ROWS > a.columns))
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                bool one = A_T && a.ones && row + 2 * g + h == a.columns;
                EACH_OF_FOUR(c) left[h][c] = term + c < terms ? (one ? 1.0f : left[h][c]) : 0.0f;
            }
#pragma unroll
        for (int c = 0; c < 4; c += 2) {
            Halves a0 = halves(left[0][c]), a1 = halves(left[1][c]), a2 = halves(left[0][c + 1]), a3 = halves(left[1][c + 1]);
            EACH_OF_FOUR(j) {
                Halves b0 = halves(right[j][c]), b1 = halves(right[j][c + 1]);
                multiply(sum[j], a0.low, a1.low, a2.low, a3.low, b0.high, b1.high);
                multiply(sum[j], a0.high, a1.high, a2.high, a3.high, b0.low, b1.low);
                multiply(sum[j], a0.high, a1.high, a2.high, a3.high, b0.high, b1.high);
            }
        }
    }
#pragma unroll
    for (int at = 0; at < 4; ++at)  // row 2 g + at / 2, columns 4 (2 t + at % 2) to + 3
        store_wide(area + (2 * g + at / 2) * PITCH + 8 * t + 4 * (at % 2), {{sum[0][at], sum[1][at], sum[2][at], sum[3][at]}});
}

// The `count` blocks from number `first` on, which make a product together.
struct Blocks {
    u32 first, count;
};

__device__ u32 tiles_of(int n, int m) { return (n + TILE_ROWS - 1) / TILE_ROWS * ((m + TILE_COLUMNS - 1) / TILE_COLUMNS); }

// The quotient of two integers, rounded down, where the dividend is below 2^21.
__device__ u32 quotient(u32 a, u32 b) { return (u32)__fdividef(a + 0.5f, (float)b); }

// Compute the n x m product a b (A_T: a' b, B_T: a b'), and call `finish(i, j, sums)` with numbers j to j + 3 of row i, for every row
// and every fourth j; it must drop those beyond column m.  Each block of the crew takes as many tiles as make everyone's turn the only
// one, and divides its warps among them.  Return the number of blocks that had a tile.
template <bool A_T, bool B_T, typename Finish>
__device__ u32 product(const Matrix& a, const Matrix& b, int n, int m, int terms, float* stage, Blocks crew, Finish finish) {
    u32 across = (m + TILE_COLUMNS - 1) / TILE_COLUMNS, tiles = tiles_of(n, m);
    u32 warp = threadIdx.x / 32, warps = blockDim.x / 32, groups = min(quotient(tiles + crew.count - 1, crew.count), warps);
    u32 split = quotient(warps, groups), group = quotient(warp, split), share = warp - group * split, member = blockIdx.x - crew.first;
    int threads = 32 * split, thread = threadIdx.x - group * threads;
    bool wide = a.columns % 4 == 0 && is_wide(a.at) && b.columns % 4 == 0 && is_wide(b.at);
    for (u32 first = member * groups; member < crew.count && first < tiles; first += crew.count * groups) {
        u32 tile = first + group, down = quotient(tile, across);
        int row = down * TILE_ROWS, column = (tile - down * across) * TILE_COLUMNS;
        bool mine = group < groups && tile < tiles;
        float* areas = stage + group * split * TILE_ROWS * PITCH;
        if (mine) {
            float* area = areas + share * TILE_ROWS * PITCH;
            if (wide) add_share<A_T, B_T, true>(a, b, row, column, terms, share, split, area);
            else add_share<A_T, B_T, false>(a, b, row, column, terms, share, split, area);
        }
        __syncthreads();  // all shares are complete
        if (mine)
            for (int at = thread; at < TILE_ROWS * TILE_COLUMNS / 4; at += threads) {
                int i = at / (TILE_COLUMNS / 4), j = at % (TILE_COLUMNS / 4) * 4;
                if (row + i >= n || column + j >= m) continue;
                Four total = load_wide(areas + i * PITCH + j);
                for (u32 other = 1; other < split; ++other) {
                    Four part = load_wide(areas + (other * TILE_ROWS + i) * PITCH + j);
                    EACH_OF_FOUR(c) total[c] += part[c];
                }
                finish(row + i, column + j, total);
            }
        __syncthreads();  // the next tile's shares must not overwrite these before they are read
    }
    return min(quotient(tiles + groups - 1, groups), crew.count);
}

__device__ Blocks everyone() { return {0, gridDim.x}; }

// Divide all blocks between two products that can be made at the same time, in proportion to their work: tiles times terms.
__device__ void divide(u32 work, u32 other_work, Blocks& crew, Blocks& other) {
    u32 count = gridDim.x * ((float)work / (work + other_work)) + 0.5f, most = gridDim.x - 1;
    crew = {0, max(1u, min(count, most))};
    other = most ? Blocks{crew.count, gridDim.x - crew.count} : crew;  // a single block makes both, one after the other
}
