#include <cuda_bf16.h>

#include "layer_reference.h"

namespace memwall::measure {

using kernels::DeviceBuffer;
using kernels::LayerMemory;
using kernels::LayerShape;

namespace {

constexpr unsigned kThreads = 256;

unsigned blocks_of(std::int64_t threads) {
    return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

__device__ std::int64_t thread_number() {
    return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__global__ void widen(const __nv_bfloat16* from, float* to, std::int64_t elements) {
    const std::int64_t i = thread_number();
    if (i < elements) to[i] = __bfloat162float(from[i]);
}

/// A thread for each row.
__global__ void norm(const float* x, float* residual, const __nv_bfloat16* weight, float* out, std::int64_t rows,
                     int cols) {
    const std::int64_t row = thread_number();
    if (row >= rows) return;
    double squares = 0;
    for (int i = 0; i < cols; ++i) {
        residual[row * cols + i] += x[row * cols + i];
        squares += static_cast<double>(residual[row * cols + i]) * residual[row * cols + i];
    }
    const float scale = static_cast<float>(1 / sqrt(squares / cols + 1e-5));
    for (int i = 0; i < cols; ++i) {
        out[row * cols + i] = residual[row * cols + i] * scale * __bfloat162float(weight[i]);
    }
}

/// A warp for each output.
__global__ void product(const float* x, const __nv_bfloat16* weight, float* out, std::int64_t rows, std::int64_t n,
                        std::int64_t k) {
    const std::int64_t warp = thread_number() / 32;
    if (warp >= rows * n) return;
    const std::int64_t row = warp / n, col = warp % n;
    float sum = 0;
    for (std::int64_t i = threadIdx.x % 32; i < k; i += 32)
        sum += x[row * k + i] * __bfloat162float(weight[col * k + i]);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
    if (threadIdx.x % 32 == 0) out[warp] = sum;
}

/// A thread for each pair of a head that is turned.
__global__ void rotate(float* qkv, std::int64_t rows, int turned_heads, int all_heads, int dim, int first_position,
                       bool same_position, float theta) {
    const int half = dim / 2;
    const std::int64_t i = thread_number();
    if (i >= rows * turned_heads * half) return;
    const int pair = static_cast<int>(i % half), head = static_cast<int>(i / half % turned_heads);
    const std::int64_t row = i / half / turned_heads;
    float* x = qkv + (row * all_heads + head) * dim;
    const double position = same_position ? first_position : first_position + static_cast<double>(row);
    const double angle = position * pow(static_cast<double>(theta), -2.0 * pair / dim);
    const double low = x[pair], high = x[pair + half];
    x[pair] = static_cast<float>(low * cos(angle) - high * sin(angle));
    x[pair + half] = static_cast<float>(high * cos(angle) + low * sin(angle));
}

struct Keys {
    const float *k, *v;
    std::int64_t row_stride, head_stride, sequence_stride;
};

/// A warp for each query head: `keys` of its own sequence, or up to its own position.
__global__ void attend(const float* qkv, Keys keys, float* out, std::int64_t rows, int heads, int kv_heads, int dim,
                       int context, bool prefill) {
    const std::int64_t warp = thread_number() / 32;
    if (warp >= rows * heads) return;
    const std::int64_t row = warp / heads;
    const int head = static_cast<int>(warp % heads), kv_head = head / (heads / kv_heads), lane = threadIdx.x % 32;
    const float* q = qkv + (row * (heads + 2 * kv_heads) + head) * dim;
    const std::int64_t base = (prefill ? 0 : row) * keys.sequence_stride + kv_head * keys.head_stride;
    const int seen = prefill ? static_cast<int>(row) + 1 : context;
    const auto score = [&](int key) {
        float sum = 0;
        for (int i = lane; i < dim; i += 32) sum += q[i] * keys.k[base + key * keys.row_stride + i];
        for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
        return sum * rsqrtf(static_cast<float>(dim));
    };
    float most = -INFINITY, sum = 0;
    for (int key = 0; key < seen; ++key) most = fmaxf(most, score(key));
    for (int i = lane; i < dim; i += 32) out[warp * dim + i] = 0;
    for (int key = 0; key < seen; ++key) {
        const float weight = expf(score(key) - most);
        sum += weight;
        for (int i = lane; i < dim; i += 32) out[warp * dim + i] += weight * keys.v[base + key * keys.row_stride + i];
    }
    for (int i = lane; i < dim; i += 32) out[warp * dim + i] /= sum;
}

/// The new token's key and value take their place in the cache.
__global__ void append(const float* qkv, float* k, float* v, std::int64_t rows, int heads, int kv_heads, int dim,
                       int context) {
    const std::int64_t i = thread_number();
    if (i >= rows * kv_heads * dim) return;
    const std::int64_t row = i / dim / kv_heads, head = i / dim % kv_heads, at = i % dim;
    const float* new_k = qkv + row * (heads + 2 * kv_heads) * dim + (heads + head) * dim;
    const std::int64_t to = ((row * kv_heads + head) * context + context - 1) * dim + at;
    k[to] = new_k[at];
    v[to] = new_k[static_cast<std::int64_t>(kv_heads) * dim + at];
}

__global__ void gate(const float* gate_up, float* out, std::int64_t rows, std::int64_t cols) {
    const std::int64_t i = thread_number();
    if (i >= rows * cols) return;
    const float g = gate_up[i / cols * 2 * cols + i % cols];
    out[i] = g / (1 + expf(-g)) * gate_up[i / cols * 2 * cols + cols + i % cols];
}

DeviceBuffer floats(std::int64_t elements) {
    return DeviceBuffer(static_cast<std::size_t>(elements) * sizeof(float));
}

DeviceBuffer widened(const DeviceBuffer& from, cudaStream_t stream) {
    const auto elements = static_cast<std::int64_t>(from.bytes() / 2);
    DeviceBuffer to = floats(elements);
    widen<<<blocks_of(elements), kThreads, 0, stream>>>(from.as<__nv_bfloat16>(), to.as<float>(), elements);
    return to;
}

DeviceBuffer projected(const DeviceBuffer& x, const DeviceBuffer& weight, std::int64_t rows, std::int64_t n,
                       std::int64_t k, cudaStream_t stream) {
    DeviceBuffer out = floats(rows * n);
    product<<<blocks_of(rows * n * 32), kThreads, 0, stream>>>(x.as<float>(), weight.as<__nv_bfloat16>(),
                                                               out.as<float>(), rows, n, k);
    return out;
}

DeviceBuffer attended(const LayerShape& s, const LayerMemory& m, const DeviceBuffer& qkv, cudaStream_t stream) {
    const std::int64_t rows = s.rows(), dim = s.head_dim;
    DeviceBuffer out = floats(rows * s.heads * dim);
    DeviceBuffer k, v;
    Keys keys{};
    if (s.prefill) {
        keys = {qkv.as<float>() + s.heads * dim, qkv.as<float>() + (s.heads + s.kv_heads) * dim, s.qkv_width(), dim, 0};
    } else {
        k = widened(m.cache_k, stream);
        v = widened(m.cache_v, stream);
        append<<<blocks_of(rows * s.kv_heads * dim), kThreads, 0, stream>>>(
            qkv.as<float>(), k.as<float>(), v.as<float>(), rows, s.heads, s.kv_heads, s.head_dim, s.context);
        keys = {k.as<float>(), v.as<float>(), dim, s.context * dim, s.kv_heads * s.context * dim};
    }
    attend<<<blocks_of(rows * s.heads * 32), kThreads, 0, stream>>>(
        qkv.as<float>(), keys, out.as<float>(), rows, s.heads, s.kv_heads, s.head_dim, s.context, s.prefill);
    kernels::check(cudaStreamSynchronize(stream), "reference attention");  // k and v live until here
    return out;
}

}  // namespace

LayerOutput reference_layer(const LayerShape& s, const LayerMemory& m, cudaStream_t stream) {
    const std::int64_t rows = s.rows(), hidden = s.hidden, heads = static_cast<std::int64_t>(s.heads) * s.head_dim;
    LayerOutput out{widened(m.hidden, stream), widened(m.residual, stream)};
    const DeviceBuffer normed = floats(rows * hidden);
    const auto normalise = [&](const DeviceBuffer& weight) {
        norm<<<blocks_of(rows), kThreads, 0, stream>>>(out.hidden.as<float>(), out.residual.as<float>(),
                                                       weight.as<__nv_bfloat16>(), normed.as<float>(), rows, s.hidden);
    };
    normalise(m.input_norm);
    const DeviceBuffer qkv = projected(normed, m.qkv_weight, rows, s.qkv_width(), hidden, stream);
    const int turned = s.heads + s.kv_heads;
    rotate<<<blocks_of(rows * turned * s.head_dim / 2), kThreads, 0, stream>>>(
        qkv.as<float>(), rows, turned, s.heads + 2 * s.kv_heads, s.head_dim, s.prefill ? 0 : s.context - 1, !s.prefill,
        s.theta);
    const DeviceBuffer attention = attended(s, m, qkv, stream);
    out.hidden = projected(attention, m.o_weight, rows, hidden, heads, stream);
    normalise(m.post_norm);
    const DeviceBuffer gate_up = projected(normed, m.gate_up_weight, rows, 2LL * s.intermediate, hidden, stream);
    const DeviceBuffer gated = floats(rows * s.intermediate);
    gate<<<blocks_of(rows * s.intermediate), kThreads, 0, stream>>>(gate_up.as<float>(), gated.as<float>(), rows,
                                                                    s.intermediate);
    out.hidden = projected(gated, m.down_weight, rows, hidden, s.intermediate, stream);
    kernels::check(cudaGetLastError(), "reference layer");
    kernels::check(cudaStreamSynchronize(stream), "reference layer");
    return out;
}

}  // namespace memwall::measure
