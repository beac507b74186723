// Enough of CUDA C to run kernels.cu on a CPU, blocks one after the other, or together where they wait for each other.
//
// Under a sanitizer every CUDA thread of a block is a std::thread, __syncthreads is a barrier of threads and __shared__ is static, so
// ThreadSanitizer sees a missing barrier as the race it would be on a GPU, and AddressSanitizer sees every index that leaves an
// array.  Otherwise the threads of a block take turns within one of the CPU's: who waits at a barrier lets the next go on.  So a busy
// machine, which seldom runs 32 threads at once, does not make each barrier wait.
//
// Blocks that run together have a thread of the CPU each; shared memory is a thread's own.  Under a sanitizer there can only be one.
//
// Small numbers count as 0, as CuPy has it on a GPU.
#include <pthread.h>
#include <ucontext.h>
#include <xmmintrin.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__ inline
#define __launch_bounds__(...)

using std::max, std::min;
inline float __fdividef(float a, float b) { return a / b; }
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };

struct dim3 { unsigned x = 1, y = 1, z = 1; };
static thread_local dim3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#define __shared__ static
// Not std::barrier: its waiting threads are counted in a table that all barriers share, by address.  To ThreadSanitizer the counts of
// two barriers in one place order what neither of them orders, so it would depend on addresses whether a race between warps is seen.
// Two pthread barriers in a row: a thread that is late to leave the first cannot yet be met by what the others do after the second.
class Barrier {
  public:
    explicit Barrier(unsigned size) {
        for (auto& one : both) pthread_barrier_init(&one, nullptr, size);
    }
    ~Barrier() {
        for (auto& one : both) pthread_barrier_destroy(&one);
    }
    Barrier(const Barrier&) = delete;
    void arrive_and_wait() {
        for (auto& one : both) pthread_barrier_wait(&one);
    }

  private:
    pthread_barrier_t both[2];
};
#else
#define __shared__ static thread_local
// One CUDA thread between two turns: where it stands, and its stack.
struct Fiber {
    ucontext_t place;
    dim3 block;
    bool done = false;
    std::vector<char> stack = std::vector<char>(1 << 18);
};
static thread_local std::vector<Fiber> fibers;
static thread_local std::function<void()> work;  // of each of them

// Leave the turn to the next thread that is not done; return when it is this one's again.
inline void next_turn() {
    unsigned here = threadIdx.x, next = here;
    do next = (next + 1) % fibers.size();
    while (fibers[next].done && next != here);
    if (next == here) return;
    fibers[here].block = blockIdx;
    threadIdx.x = next;
    blockIdx = fibers[next].block;
    swapcontext(&fibers[here].place, &fibers[next].place);
}

inline void take_turns() {  // from its first turn to its last
    work();
    fibers[threadIdx.x].done = true;
    next_turn();
}

class Barrier {
  public:
    explicit Barrier(unsigned size) : size(size) {}
    void arrive_and_wait() {
        unsigned round = rounds;
        if (++arrived == size) arrived = 0, ++rounds;
        while (rounds == round) next_turn();
    }

  private:
    unsigned size, arrived = 0, rounds = 0;
};
#endif

__shared__ std::unique_ptr<Barrier> block_barrier;
__shared__ std::vector<std::unique_ptr<Barrier>> warp_barriers;

inline void __syncthreads() { block_barrier->arrive_and_wait(); }
inline void __syncwarp() { warp_barriers[threadIdx.x / 32]->arrive_and_wait(); }
inline void __threadfence() {}  // blocks that run together wait for each other by other means
inline unsigned atomicAdd(unsigned* at, unsigned value) { return std::atomic_ref<unsigned>(*at).fetch_add(value); }
inline void arrive(unsigned* count) { atomicAdd(count, 1); }
inline unsigned arrivals(unsigned* count) {
    std::this_thread::yield();  // there may be more blocks than the CPU can run at once
    return std::atomic_ref<unsigned>(*count).load();
}

// The value of the thread `delta` lanes further on in the warp; beyond the warp's end, one's own, as on the device.
template <typename T> inline T __shfl_down_sync(unsigned, T value, unsigned delta) {
    __shared__ T lanes[1024];
    auto& warp = *warp_barriers[threadIdx.x / 32];
    lanes[threadIdx.x] = value;
    warp.arrive_and_wait();
    T result = threadIdx.x % 32 + delta < 32 ? lanes[threadIdx.x + delta] : value;
    warp.arrive_and_wait();
    return result;
}

// What product.cu asks of tensor cores: the product of a warp's two tiles, of whose numbers the lower 13 bits are ignored.
inline float to_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned to_bits(float x) { return std::bit_cast<unsigned>(x); }
inline float tf32(unsigned bits) { return to_float(bits & ~0x1fffu); }
inline void multiply(float sum[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    __shared__ float a[32][16][8], b[32][8][8];  // one for each warp
    unsigned which = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    auto& left = a[which];
    auto& right = b[which];
    left[g][t] = tf32(a0);
    left[g + 8][t] = tf32(a1);
    left[g][t + 4] = tf32(a2);
    left[g + 8][t + 4] = tf32(a3);
    right[t][g] = tf32(b0);
    right[t + 4][g] = tf32(b1);
    __syncwarp();
    for (int k = 0; k < 8; ++k)
        for (int i = 0; i < 4; ++i) sum[i] += left[g + i / 2 * 8][k] * right[k][2 * t + i % 2];
    __syncwarp();
}

// Blocks `first`, `first` + `step` and so on, one after the other.
template <typename Body> static void run_blocks(unsigned first, unsigned step, Body body) {
    const unsigned block = blockDim.x;
    block_barrier = std::make_unique<Barrier>(block);
    warp_barriers.clear();
    for (unsigned warp = 0; warp < block / 32; ++warp) warp_barriers.push_back(std::make_unique<Barrier>(32));
    auto one_thread = [=] {
        _mm_setcsr(_mm_getcsr() | 0x8040);  // denormal results and arguments are 0
        for (unsigned b = first; b < gridDim.x; b += step) {
            blockIdx.x = b;
            body();
            block_barrier->arrive_and_wait();  // shared memory is this block's until all its threads are done
        }
    };
#ifdef SANITIZED
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < block; ++thread)
        threads.emplace_back([=] {
            threadIdx.x = thread;
            one_thread();
        });
    for (auto& thread : threads) thread.join();
#else
    static thread_local ucontext_t caller;
    work = one_thread;
    fibers.resize(block);
    for (Fiber& fiber : fibers) {
        fiber.done = false;
        getcontext(&fiber.place);
        fiber.place.uc_stack.ss_sp = fiber.stack.data();
        fiber.place.uc_stack.ss_size = fiber.stack.size();
        fiber.place.uc_link = &caller;  // for the last one, after whom there is no next
        makecontext(&fiber.place, take_turns, 0);
    }
    threadIdx.x = 0;
    swapcontext(&caller, &fibers[0].place);
#endif
}

// kernel<<<grid, block>>>: `body` is the call with its arguments; the block is a whole number of warps.  The blocks run `together` in a
// cooperative launch.
template <typename Body> static void launch_on_cpu(unsigned grid, unsigned block, unsigned together, Body body) {
    gridDim.x = grid;
    blockDim.x = block;
    if (!together || grid == 1) return run_blocks(0, 1, body);
    std::vector<std::thread> blocks;
    for (unsigned b = 0; b < grid; ++b) blocks.emplace_back([=] { run_blocks(b, grid, body); });
    for (auto& one : blocks) one.join();
}
