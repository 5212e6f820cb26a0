// One Llama layer composed of the kernels of this folder, for decode and for prefill:
// norm with residual, qkv projection, rotary positions with the cache write, attention, output projection, norm with
// residual, gate and up projection, SiLU times up, down projection. Several layers with weights of their own take
// turns, so that weights come from memory as they do in a model.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "host.h"

namespace memwall::kernels {

struct GemmProblem;

struct LayerShape {
    int hidden, heads, kv_heads, head_dim, intermediate;
    bool prefill;
    int batch;    ///< decode: sequences; prefill: 1
    int tokens;   ///< prefill: of the prompt
    int context;  ///< decode: keys that attention sees, the new one among them
    float theta;  ///< of the rotary positions
    [[nodiscard]] std::int64_t rows() const { return prefill ? tokens : batch; }
    [[nodiscard]] int qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
};

/// Device memory of one layer and of the activations that go through it. bf16.
struct LayerMemory {
    DeviceBuffer qkv_weight, o_weight, gate_up_weight, down_weight, input_norm, post_norm;
    DeviceBuffer cache_k, cache_v;  ///< decode: [sequence][kv_head][context][dim]; prefill: [kv_head][tokens][dim]
    DeviceBuffer hidden, residual, normed, qkv, attended, gate_up, gated;
};
/// Allocates and fills weights, caches, hidden and residual with random values (weights scaled to keep the activations
/// near one); the rest is poisoned.
[[nodiscard]] LayerMemory make_layer(const LayerShape& shape, std::uint64_t seed, cudaStream_t stream);

/// A product through a library, in place of the folder's own.
using Product = std::function<void(const GemmProblem&, cudaStream_t)>;

class LlamaLayer {
public:
    /// `memory` must outlive the layer. `library`: takes the four projections when set. Throws CudaError for a shape
    /// that no kernel fits.
    LlamaLayer(const LayerShape& shape, const LayerMemory& memory, Product library = nullptr);
    /// All kernels of the layer; hidden is read and written, residual updated. `dependent`: each kernel may start while
    /// the one before it ends (not with a library).
    void launch(cudaStream_t stream, bool dependent) const;

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace memwall::kernels
