// Enough of CUDA C to run kernels.cu on a CPU: one std::thread for every CUDA thread of a block, blocks one after the other.
//
// __syncthreads is a std::barrier and __shared__ is static, so ThreadSanitizer sees a missing barrier as the race it would be on a
// GPU, and AddressSanitizer sees every index that leaves an array.  Atomics, streams and asynchronous copies are not emulated.
#include <barrier>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__ static
#define __shared__ static

struct dim3 { unsigned x = 1, y = 1, z = 1; };
static thread_local dim3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

static std::unique_ptr<std::barrier<>> block_barrier;
static std::vector<std::unique_ptr<std::barrier<>>> warp_barriers;

static void __syncthreads() { block_barrier->arrive_and_wait(); }

// The value of the thread `delta` lanes further on in the warp; beyond the warp's end, one's own, as on the device.
template <typename T> static T __shfl_down_sync(unsigned, T value, unsigned delta) {
    static T lanes[1024];
    auto& warp = *warp_barriers[threadIdx.x / 32];
    lanes[threadIdx.x] = value;
    warp.arrive_and_wait();
    T result = threadIdx.x % 32 + delta < 32 ? lanes[threadIdx.x + delta] : value;
    warp.arrive_and_wait();
    return result;
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
            for (unsigned b = 0; b < grid; ++b) {
                blockIdx.x = b;
                body();
                block_barrier->arrive_and_wait();  // shared memory is this block's until all its threads are done
            }
        });
    for (auto& thread : threads) thread.join();
}
