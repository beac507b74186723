// Many steps of training in one launch: a Bernoulli VAE with one or two hidden layers, counter-based noise, and Adam.
//
// A cooperative kernel: all blocks are on the device at once, and they wait for each other after each phase of a step.  A phase
// corresponds to one pass of an op over a layer, with the same equations; the tiles of its product are dealt to the blocks (product.cu).
// Compiled together with kernels.cu, product.cu and dense.cu, which come first.
//
// The parameters are stored one after the other as in ParameterVector, weight and bias of each layer, and so are Adam's sums.  The
// gradient of a weight is never stored: the block that computes a tile of it makes Adam's step with it at once.  Since that changes the
// weight, it happens one phase after the last product that reads the weight.

#define MOST_LAYERS 6

struct Layer {
    int d, m;            // inputs and outputs
    int weight, bias;    // their positions among the parameters
    float* in;           // the input of the layer, n x d
    float* d_in;         // the gradient of the input
};

// Hands out `scratch`, floats: one array after the other, each beginning at a multiple of 16 bytes.
struct Room {
    float* at;

    __device__ float* take(int size) {
        float* taken = at;
        at += (size + 3) / 4 * 4;
        return taken;
    }
};

#ifdef __CUDACC__
// Count one up, after everything that this block wrote; and read the count, before everything that it reads.
__device__ void arrive(u32* count) { asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory"); }

__device__ u32 arrivals(const u32* count) {
    u32 number;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(number) : "l"(count) : "memory");
    return number;
}
#endif

// Wait until all blocks have arrived here; each then sees what the others wrote before.
__device__ void wait_for_all_blocks(u32* arrived, u32& meetings) {
    __syncthreads();
    meetings += gridDim.x;
    if (threadIdx.x == 0 && gridDim.x > 1) {
        arrive(arrived);
        while (arrivals(arrived) < meetings) {}
    }
    __syncthreads();
}

// Fetch a batch, with pixels as Rows.take gives them, and draw its noise.  The blocks from number `turn` on do it.
__device__ void take_batch(const unsigned char* bytes, const float* floats, const long long* rows, float* x, float* noise, int n, int d,
                           int k, u32 draw, u32 path, u32 stream, u64 seed, int turn) {
    int threads = (gridDim.x - turn) * blockDim.x, thread = ((int)blockIdx.x - turn) * blockDim.x + threadIdx.x;
    if (thread < 0) return;
    for (int i = 4 * thread; i < n * d; i += 4 * threads) EACH_OF_FOUR(c) if (i + c < n * d) {
        long long from = rows[(i + c) / d] * d + (i + c) % d;
        x[i + c] = bytes ? bytes[from] / 255.0f : floats[from];
    }
    for (int i = threads - 1 - thread; i < (n * k + 3) / 4; i += threads)  // threads that have few pixels to fetch come first
        store_four(noise, 4 * i, n * k, four_normals(i, draw, path, stream, seed));
}

// Train on `n_rows` rows in batches; the last may be smaller.  The `weight` of the KL term is beta, or rises linearly to it over the
// first `warm_up` steps.  Pixels are bytes or, if `is_bytes` is 0, floats.  totals: reconstruction, KL and loss, summed over examples.
KERNEL __launch_bounds__(THREADS, 1) train(const unsigned char* bytes, const float* floats, int is_bytes, const long long* rows, int n_rows,
        int batch, float* values, float* sums, float* square_sums, float* scratch, double* block_totals, double* totals, u32* arrived,
        int d, int hidden1, int hidden2, int k, int kind, double beta, double first_step, double warm_up, u64* draw, u32 path, u32 stream,
        u64 seed, long long* adam_step, const double* learning_rate, double beta1, double beta2, double eps) {
    __shared__ float4 shared[STAGE / 4];
    float* stage = (float*)shared;
    __shared__ Layer layers[MOST_LAYERS];
    __shared__ float rule_memory[sizeof(Adam) / 4];
    __shared__ double power[2];  // beta1 and beta2 to the power of the step's number
    const int depth = hidden2 ? 2 : 1, code = depth, last = 2 * depth + 1;  // layer `code` computes the heads, `last` the logits
    Room room = {scratch};
    float *x[2] = {room.take(batch * d), room.take(batch * d)}, *noise[2] = {room.take(batch * k), room.take(batch * k)};
    float *heads = room.take(batch * 2 * k), *scaled_noise = room.take(batch * k);
    float *d_heads = room.take(batch * 2 * k), *d_logits = room.take(batch * d);
    if (threadIdx.x == 0) {
        auto hidden = [=](int i) { return i == 1 ? hidden1 : hidden2; };
        int weight = 0;
        for (int l = 0; l <= last; ++l) {
            Layer& layer = layers[l];
            layer.d = l == 0 ? d : l == code + 1 ? k : hidden(l <= code ? l : last + 1 - l);
            layer.m = l == code ? 2 * k : l == last ? d : hidden(l < code ? l + 1 : last - l);
            layer.weight = weight;
            layer.bias = weight + layer.d * layer.m;
            weight = layer.bias + layer.m;
            layer.in = l ? room.take(batch * layer.d) : nullptr;  // for layer 0 the batch, which alternates between two arrays
            layer.d_in = l ? room.take(batch * layer.d) : nullptr;
        }
    }
    if (threadIdx.x == 0) power[0] = pow(beta1, (double)*adam_step), power[1] = pow(beta2, (double)*adam_step);
    __syncthreads();
    double reconstruction = 0, kl = 0, weighted_kl = 0;  // this thread's part of the sums
    const u32 first_draw = (u32)*draw;
    u32 meetings = 0;
    auto take = [&](int step, int turn) {
        int first = step * batch;
        if (first < n_rows)
            take_batch(is_bytes ? bytes : nullptr, floats, rows + first, x[step % 2], noise[step % 2], min(batch, n_rows - first), d, k,
                       first_draw + step, path, stream, seed, turn);
    };
    take(0, 0);
    wait_for_all_blocks(arrived, meetings);

    for (int step = 0; step * batch < n_rows; ++step) {
        const int n = min(batch, n_rows - step * batch);
        float *now = x[step % 2], share = 1.0f / n;
        float weight = (float)(warm_up > 0 ? beta * fmin(1.0, (first_step + step) / warm_up) : beta);

        // Forward: dense and activation, layer by layer
        for (int l = 0; l <= last; ++l) {
            Layer layer = layers[l];
            Matrix in = {l ? layer.in : now, n, layer.d}, w = {values + layer.weight, layer.d, layer.m};
            float *bias = values + layer.bias, *out = l == code ? heads : l == last ? d_logits : layers[l + 1].in;
            u32 busy = product<false, false>(in, w, n, layer.m, layer.d, stage, everyone(), [&](int i, int j, Four y) {
                Four offset = load_four(bias, j, layer.m), pixel = load_four(now + i * d, j, l == last ? d : 0);
                EACH_OF_FOUR(c) {
                    y[c] += offset[c];
                    if (l == last) {
                        float nll = bernoulli(pixel[c], y[c], y[c]);                    // (L.1)
                        if (j + c < d) reconstruction += nll;
                        y[c] *= share;
                    } else if (l != code) y[c] = activate(kind, y[c]);
                }
                store_four(out + i * layer.m, j, layer.m, y);
            });
            if (l == code) take(step + 1, busy < gridDim.x ? busy : 0);  // by the blocks that have no tile of the heads
            wait_for_all_blocks(arrived, meetings);
            if (l != code) continue;
            if (threadIdx.x == blockDim.x - 1) {  // none of the threads that are busy below
                power[0] *= beta1;
                power[1] *= beta2;
                *(Adam*)rule_memory = Adam(power[0], power[1], *learning_rate, beta1, beta2, eps);
            }
            for (int i = blockIdx.x + gridDim.x * threadIdx.x; i < n * k; i += gridDim.x * blockDim.x) {  // a few for each block
                float mean = heads[i / k * 2 * k + i % k], log_var = heads[i / k * 2 * k + k + i % k];
                scaled_noise[i] = expf(0.5f * log_var) * noise[step % 2][i];
                layers[code + 1].in[i] = mean + scaled_noise[i];                        // (R.1)
                double nats = 0.5 * ((double)mean * mean + excess(log_var));            // (K.1)
                kl += nats;
                weighted_kl += weight * nats;                                           // (M.5)
            }
            wait_for_all_blocks(arrived, meetings);
        }

        Adam rule = *(Adam*)rule_memory;

        // Backward: the gradient of a layer's input and, in the same phase, Adam's step for the weights of the layer after it
        auto gradient = [&](int l) {
            Matrix g = {l == last ? d_logits : l == code ? d_heads : layers[l + 1].d_in, n, layers[l].m};
            return g;
        };
        auto learn = [&](int l, Blocks crew) {
            Layer layer = layers[l];
            Matrix in = {l ? layer.in : now, n, layer.d, true};
            product<true, false>(in, gradient(l), layer.d + 1, layer.m, n, stage, crew, [&](int i, int j, Four g) {
                int row = layer.weight + i * layer.m;  // the row of the ones comes last, as the bias does
                rule.update(values + row, sums + row, square_sums + row, j, layer.m, g);
            });
        };
        auto learning = [&](int l) { return tiles_of(layers[l].d + 1, layers[l].m) * n; };  // its work
        for (int l = last; l > 0; --l) {
            Layer layer = layers[l];
            Matrix w = {values + layer.weight, layer.d, layer.m};
            Blocks crew = everyone(), other = crew;
            if (l < last) divide(tiles_of(n, layer.d) * layer.m, learning(l + 1), crew, other);
            product<false, true>(gradient(l), w, n, layer.d, layer.m, stage, crew, [&](int i, int j, Four dx) {
                if (l != code + 1) {
                    Four in = load_four(layer.in + i * layer.d, j, layer.d);
                    EACH_OF_FOUR(c) dx[c] *= slope_of(kind, in[c]);
                    store_four(layer.d_in + i * layer.d, j, layer.d, dx);
                    return;
                }
                float *mean = heads + i * 2 * k, *d_mean = d_heads + i * 2 * k;
                Four m = load_four(mean, j, k), s = load_four(mean + k, j, k), spread = load_four(scaled_noise + i * k, j, k), d_log_var;
                EACH_OF_FOUR(c) {
                    d_log_var[c] = 0.5f * dx[c] * spread[c] + 0.5f * weight * share * expm1f(s[c]);   // (R.2), (K.2)
                    dx[c] += weight * share * m[c];
                }
                store_four(d_mean, j, k, dx);
                store_four(d_mean + k, j, k, d_log_var);
            });
            if (l < last) learn(l + 1, other);
            wait_for_all_blocks(arrived, meetings);
        }
        Blocks crew, other;
        divide(learning(0), learning(1), crew, other);
        learn(0, crew);
        learn(1, other);
        wait_for_all_blocks(arrived, meetings);
    }

    double parts[3] = {reconstruction, kl, reconstruction + weighted_kl};
    for (int t = 0; t < 3; ++t) {
        double sum = block_sum(parts[t]);
        if (threadIdx.x == 0) block_totals[3 * blockIdx.x + t] = sum;
    }
    wait_for_all_blocks(arrived, meetings);
    if (blockIdx.x == 0 && threadIdx.x < 3)
        for (int block = 0; block < (int)gridDim.x; ++block) totals[threadIdx.x] += block_totals[3 * block + threadIdx.x];
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        int steps = (n_rows + batch - 1) / batch;
        *draw += steps;
        *adam_step += steps;
    }
}
