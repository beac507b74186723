// Enough of CUDA C to run kernels.cu on a CPU, blocks one after the other, or together where they wait for each other.
//
// The threads of a block take turns within one of the CPU's: who waits at a barrier lets the next go on.  Blocks that run together have
// one of the CPU's threads each; shared memory is a thread's own.
//
// Compiled with ThreadSanitizer, each CUDA thread is one to it, too, and a barrier orders what comes before it and after it in those
// that wait there, and nothing else.  So it sees a missing barrier as the race it would be on a GPU, in whatever order the turns are
// taken.  AddressSanitizer sees every index that leaves an array.
//
// Small numbers count as 0, as CuPy has it on a GPU.
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

#define __shared__ static thread_local

// What ThreadSanitizer is told, or nothing.  It does not look into functions that are OURS: the turns are no part of a kernel.
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define OURS __attribute__((no_sanitize_thread))
#define TSAN(what) what
#else
#define OURS
#define TSAN(what)
#endif

constexpr size_t STACK = 1 << 18;  // bytes

// One CUDA thread between two turns: where it stands, and its stack.
struct Fiber {
    ucontext_t place;
    dim3 block;
    bool done = false;
    void* known_as = nullptr;  // to ThreadSanitizer
    std::unique_ptr<char[]> stack{new char[STACK]};
};
__shared__ std::vector<Fiber> fibers;   // of a block
__shared__ std::function<void()> work;  // of each of them
__shared__ Fiber caller;                // whoever launched the block

OURS inline void change(Fiber& from, Fiber& to) {
    TSAN(__tsan_switch_to_fiber(to.known_as, __tsan_switch_to_fiber_no_sync));
    swapcontext(&from.place, &to.place);
}

// Leave the turn to the next thread that is not done; return when it is this one's again.
OURS inline void next_turn() {
    unsigned here = threadIdx.x, next = here;
    do next = (next + 1) % blockDim.x;
    while (fibers[next].done && next != here);
    if (next == here) return;
    fibers[here].block = blockIdx;
    threadIdx.x = next;
    blockIdx = fibers[next].block;
    change(fibers[here], fibers[next]);
}

OURS inline void take_turns() {  // from its first turn to its last
    work();
    TSAN(__tsan_release(&caller));
    fibers[threadIdx.x].done = true;
    next_turn();
    change(fibers[threadIdx.x], caller);  // after the last one there is no next
}

class Barrier {
  public:
    explicit Barrier(unsigned size) : size(size) {}
    OURS void arrive_and_wait() {
        unsigned round = rounds;
        TSAN(__tsan_release(&order[round % 2]));
        if (++arrived == size) arrived = 0, ++rounds;
        while (rounds == round) next_turn();
        TSAN(__tsan_acquire(&order[round % 2]));
    }

  private:
    unsigned size, arrived = 0, rounds = 0;
    char order[2];  // what ThreadSanitizer knows even and odd rounds by: some threads are in the next before all have left this one
};

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

OURS inline void first_turn() {
    threadIdx.x = 0;
    change(caller, fibers[0]);
    TSAN(__tsan_acquire(&caller));
}

OURS inline void begin_block(unsigned number) { blockIdx.x = number; }

// Blocks `first`, `first` + `step` and so on, one after the other.
template <typename Body> static void run_blocks(unsigned first, unsigned step, Body body) {
    const unsigned block = blockDim.x;
    block_barrier = std::make_unique<Barrier>(block);
    warp_barriers.clear();
    for (unsigned warp = 0; warp < block / 32; ++warp) warp_barriers.push_back(std::make_unique<Barrier>(32));
    work = [=] {
        _mm_setcsr(_mm_getcsr() | 0x8040);  // denormal results and arguments are 0
        for (unsigned b = first; b < gridDim.x; b += step) {
            begin_block(b);
            body();
            block_barrier->arrive_and_wait();  // shared memory is this block's until all its threads are done
        }
    };
    fibers.resize(block);
    for (Fiber& fiber : fibers) {
        fiber.done = false;
        getcontext(&fiber.place);
        fiber.place.uc_stack.ss_sp = fiber.stack.get();
        fiber.place.uc_stack.ss_size = STACK;
        makecontext(&fiber.place, take_turns, 0);
        TSAN(fiber.known_as = __tsan_create_fiber(0));
    }
    TSAN(caller.known_as = __tsan_get_current_fiber());
    first_turn();
    for ([[maybe_unused]] Fiber& fiber : fibers) {
        TSAN(__tsan_destroy_fiber(fiber.known_as));
    }
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
