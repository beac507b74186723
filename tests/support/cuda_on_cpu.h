// Enough of CUDA C to run kernels.cu on a CPU: one std::thread for every CUDA thread of a block, blocks one after the other.
//
// __syncthreads is a std::barrier and __shared__ is static, so ThreadSanitizer sees a missing barrier as the race it would be on a
// GPU, and AddressSanitizer sees every index that leaves an array.  Small numbers count as 0, as CuPy has it on a GPU.  Since blocks
// come one after the other, a kernel whose blocks wait for each other can only be launched with one.
#include <xmmintrin.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <bit>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__ inline
#define __shared__ static
#define __launch_bounds__(...)

using std::min;
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };

struct dim3 { unsigned x = 1, y = 1, z = 1; };
static thread_local dim3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

static std::unique_ptr<std::barrier<>> block_barrier;
static std::vector<std::unique_ptr<std::barrier<>>> warp_barriers;

inline void __syncthreads() { block_barrier->arrive_and_wait(); }
inline void __syncwarp() { warp_barriers[threadIdx.x / 32]->arrive_and_wait(); }
inline void __threadfence() {}  // blocks are not at work at the same time
inline unsigned atomicAdd(unsigned* at, unsigned value) { return std::atomic_ref<unsigned>(*at).fetch_add(value); }

// The value of the thread `delta` lanes further on in the warp; beyond the warp's end, one's own, as on the device.
template <typename T> inline T __shfl_down_sync(unsigned, T value, unsigned delta) {
    static T lanes[1024];
    auto& warp = *warp_barriers[threadIdx.x / 32];
    lanes[threadIdx.x] = value;
    warp.arrive_and_wait();
    T result = threadIdx.x % 32 + delta < 32 ? lanes[threadIdx.x + delta] : value;
    warp.arrive_and_wait();
    return result;
}

// What dense.cu asks of tensor cores.  A number with 13 of its 24 bits rounded off, and the product of a warp's two tiles.
inline unsigned to_tf32(float x) { return (std::bit_cast<unsigned>(x) + 0x1000u) & ~0x1fffu; }
inline float from_bits(unsigned bits) { return std::bit_cast<float>(bits); }
inline void multiply(float sum[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    static float a[32][16][8], b[32][8][8];  // one for each warp
    unsigned which = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    auto& left = a[which];
    auto& right = b[which];
    left[g][t] = from_bits(a0);
    left[g + 8][t] = from_bits(a1);
    left[g][t + 4] = from_bits(a2);
    left[g + 8][t + 4] = from_bits(a3);
    right[t][g] = from_bits(b0);
    right[t + 4][g] = from_bits(b1);
    __syncwarp();
    for (int k = 0; k < 8; ++k)
        for (int i = 0; i < 4; ++i) sum[i] += left[g + i / 2 * 8][k] * right[k][2 * t + i % 2];
    __syncwarp();
}

// kernel<<<grid, block>>>: `body` is the call with its arguments; the block is a whole number of warps.
template <typename Body> static void launch_on_cpu(unsigned grid, unsigned block, Body body) {
    gridDim.x = grid;
    blockDim.x = block;
    block_barrier = std::make_unique<std::barrier<>>(block);
    warp_barriers.clear();
    for (unsigned warp = 0; warp < block / 32; ++warp) warp_barriers.push_back(std::make_unique<std::barrier<>>(32));
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < block; ++thread)
        threads.emplace_back([=] {
            threadIdx.x = thread;
            _mm_setcsr(_mm_getcsr() | 0x8040);  // denormal results and arguments are 0
            for (unsigned b = 0; b < grid; ++b) {
                blockIdx.x = b;
                body();
                block_barrier->arrive_and_wait();  // shared memory is this block's until all its threads are done
            }
        });
    for (auto& thread : threads) thread.join();
}
