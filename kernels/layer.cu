#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "attention.h"
#include "gemm.h"
#include "gemm_tiles.h"
#include "layer.h"
#include "rows.h"

namespace memwall::kernels {

namespace {

__global__ void scale_kernel(__nv_bfloat16* data, std::size_t elements, float factor, float offset) {
    const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
    for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {
        data[i] = __float2bfloat16_rn(__bfloat162float(data[i]) * factor + offset);
    }
}

/// Uniform with mean `offset` and the given half width.
DeviceBuffer random_values(std::size_t elements, float half_width, float offset, std::uint64_t seed,
                           cudaStream_t stream) {
    DeviceBuffer buffer(elements * 2);
    fill_random(buffer.as(), elements, Dtype::bf16, seed, stream);
    Launch how{.grid = dim3(1024), .block = dim3(256)};
    how.stream = stream;
    launch(scale_kernel, how, buffer.as<__nv_bfloat16>(), elements, half_width, offset);
    return buffer;
}

DeviceBuffer poisoned(std::size_t elements, cudaStream_t stream) {
    DeviceBuffer buffer(elements * 2);
    poison(buffer.as(), buffer.bytes(), stream);
    return buffer;
}

/// One projection: as many rows as the step has, by the kernel that suits them.
struct Projection {
    GemmProblem problem{};
    std::optional<SkinnyPlan> skinny;
    std::optional<GemmPlan> large;

    Projection() = default;
    Projection(const GemmProblem& p, bool own) : problem(p) {
        if (!own) return;
        if (p.m <= 64) {
            // 64 weight rows to a CTA, and k split until there are two CTAs for each SM.
            const int tiles = static_cast<int>((p.n + 63) / 64);
            int split = 1;
            while (split < 16 && tiles * split < 2 * multiprocessors()) split *= 2;
            skinny.emplace(p, SkinnySchedule{.tile_n = 64, .tile_k = 128, .stages = 4, .split = split});
        } else {
            large.emplace(p, GemmSchedule{.tile_m = 128, .tile_n = 256, .tile_k = 64, .stages = 4, .cluster = 2});
        }
    }
    void launch(const Product& library, cudaStream_t stream, bool dependent) const {
        if (library) return library(problem, stream);
        if (skinny) return skinny->launch(stream, dependent);
        large->launch(stream, dependent);
    }
};

}  // namespace

LayerMemory make_layer(const LayerShape& s, std::uint64_t seed, cudaStream_t stream) {
    const auto hidden = static_cast<std::size_t>(s.hidden), inner = static_cast<std::size_t>(s.intermediate);
    const auto rows = static_cast<std::size_t>(s.rows()), width = static_cast<std::size_t>(s.qkv_width());
    const auto heads = static_cast<std::size_t>(s.heads * s.head_dim);
    // A sum of n products of uniforms of half width w and activations near one has a deviation of w * sqrt(n / 3).
    const auto weights = [&](std::size_t out, std::size_t in) {
        return random_values(out * in, std::sqrt(3.0f / static_cast<float>(in)), 0, ++seed, stream);
    };
    const std::size_t keys = s.prefill ? static_cast<std::size_t>(s.tokens)
                                       : static_cast<std::size_t>(s.batch) * static_cast<std::size_t>(s.context);
    const std::size_t cache = keys * static_cast<std::size_t>(s.kv_heads * s.head_dim);
    LayerMemory m;
    m.qkv_weight = weights(width, hidden);
    m.o_weight = weights(hidden, heads);
    m.gate_up_weight = weights(2 * inner, hidden);
    m.down_weight = weights(hidden, inner);
    m.input_norm = random_values(hidden, 0.1f, 1, ++seed, stream);
    m.post_norm = random_values(hidden, 0.1f, 1, ++seed, stream);
    m.cache_k = random_values(cache, 1, 0, ++seed, stream);
    m.cache_v = random_values(cache, 1, 0, ++seed, stream);
    m.hidden = random_values(rows * hidden, 1, 0, ++seed, stream);
    m.residual = random_values(rows * hidden, 1, 0, ++seed, stream);
    m.normed = poisoned(rows * hidden, stream);
    m.qkv = poisoned(rows * width, stream);
    m.attended = poisoned(rows * heads, stream);
    m.gate_up = poisoned(rows * 2 * inner, stream);
    m.gated = poisoned(rows * inner, stream);
    return m;
}

struct LlamaLayer::State {
    LayerShape shape;
    Product library;
    RmsnormArguments input_norm{}, post_norm{};
    RopeArguments rope{};
    Projection qkv, o, gate_up, down;
    std::optional<DecodePlan> decode;
    std::optional<PrefillPlan> prefill;
    const void* gate_up_values;
    void* gated;
};

namespace {

DecodePlan decode_plan(const LayerShape& s, const LayerMemory& m) {
    DecodeProblem p{};
    p.batch = s.batch;
    p.heads = s.heads;
    p.kv_heads = s.kv_heads;
    p.kv = s.context;
    p.head_dim = s.head_dim;
    p.q = m.qkv.as();
    p.q_stride = s.qkv_width();
    p.k = m.cache_k.as();
    p.v = m.cache_v.as();
    p.o = m.attended.as();
    const int splits = decode_splits(s.batch * s.kv_heads, s.context, multiprocessors());
    return {p, DecodeSchedule{.tile = 64, .stages = 3, .split = splits}};
}

PrefillPlan prefill_plan(const LayerShape& s, const LayerMemory& m) {
    PrefillProblem p{};
    p.batch = 1;
    p.heads = s.heads;
    p.kv_heads = s.kv_heads;
    p.q_tokens = p.kv_tokens = s.tokens;
    p.head_dim = s.head_dim;
    p.causal = true;
    const auto* qkv = m.qkv.as<__nv_bfloat16>();
    p.q = qkv;
    p.k = qkv + s.heads * s.head_dim;
    p.v = qkv + (s.heads + s.kv_heads) * s.head_dim;
    p.q_stride = p.kv_stride = s.qkv_width();
    p.o = m.attended.as();
    return {p, PrefillSchedule{.tile_q = 128, .tile_kv = 128, .stages = 2}};
}

}  // namespace

LlamaLayer::LlamaLayer(const LayerShape& s, const LayerMemory& m, Product library) : state_(std::make_shared<State>()) {
    State& state = *state_;
    state.shape = s;
    state.library = std::move(library);
    const std::int64_t rows = s.rows(), hidden = s.hidden, heads = static_cast<std::int64_t>(s.heads) * s.head_dim;
    state.input_norm = {m.hidden.as(), m.residual.as(), m.input_norm.as(), m.normed.as(), rows, hidden};
    state.post_norm = {m.hidden.as(), m.residual.as(), m.post_norm.as(), m.normed.as(), rows, hidden};
    const bool own = !state.library;
    const auto project = [&](std::int64_t out, std::int64_t in, const DeviceBuffer& x, const DeviceBuffer& w,
                             const DeviceBuffer& y) {
        return Projection({rows, out, in, Dtype::bf16, x.as(), w.as(), y.as()}, own);
    };
    state.qkv = project(s.qkv_width(), hidden, m.normed, m.qkv_weight, m.qkv);
    state.o = project(hidden, heads, m.attended, m.o_weight, m.hidden);
    state.gate_up = project(2LL * s.intermediate, hidden, m.normed, m.gate_up_weight, m.gate_up);
    state.down = project(hidden, s.intermediate, m.gated, m.down_weight, m.hidden);
    state.gate_up_values = m.gate_up.as();
    state.gated = m.gated.as();
    state.rope.qkv = m.qkv.as();
    state.rope.cache_k = m.cache_k.as();
    state.rope.cache_v = m.cache_v.as();
    state.rope.tokens = rows;
    state.rope.heads = s.heads;
    state.rope.kv_heads = s.kv_heads;
    state.rope.head_dim = s.head_dim;
    state.rope.position = s.prefill ? 0 : s.context - 1;
    state.rope.capacity = s.prefill ? s.tokens : s.context;
    state.rope.decode = !s.prefill;
    state.rope.theta = s.theta;
    if (s.prefill) {
        state.prefill.emplace(prefill_plan(s, m));
    } else {
        state.decode.emplace(decode_plan(s, m));
    }
}

void LlamaLayer::launch(cudaStream_t stream, bool dependent) const {
    const State& s = *state_;
    rmsnorm(s.input_norm, stream, dependent);
    s.qkv.launch(s.library, stream, dependent);
    rope_kv_write(s.rope, stream, dependent);
    if (s.prefill) {
        s.prefill->launch(stream, dependent);
    } else {
        s.decode->launch(stream, dependent);
    }
    s.o.launch(s.library, stream, dependent);
    rmsnorm(s.post_norm, stream, dependent);
    s.gate_up.launch(s.library, stream, dependent);
    silu_mul(s.gate_up_values, s.gated, s.shape.rows(), s.shape.intermediate, stream, dependent);
    s.down.launch(s.library, stream, dependent);
}

}  // namespace memwall::kernels
