// Llama-like models from their Hugging Face config.json, as published, into the kernels of a decode step or a prefill.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/device.h"
#include "trace/trace.h"
#include "workload/schedule.h"

namespace memwall::workload {

/// The shape of a decoder-only transformer with RMSNorm, rotary positions, grouped-query attention and a gated MLP.
struct Model {
    std::string name;
    std::int64_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocabulary;
    std::int64_t window = 0;  ///< sliding-window attention: keys that a query sees; 0: all

    /// Weights that one token reads, head included, the embedding's one row left out.
    [[nodiscard]] double weight_elements() const;
};

/// Finds `name` in the folders' models/ (with or without .json) or takes it as a path. Throws InputError when the file
/// is not one of the architectures that this program composes (it lists them).
Model load_model(const std::string& name_or_path, const std::vector<std::string>& config_dirs);
std::vector<std::string> list_models(const std::vector<std::string>& config_dirs);

struct Situation {
    bool prefill = false;
    std::int64_t batch = 1;
    std::int64_t context = 2048;  ///< decode: tokens in the KV cache, the new one included
    std::int64_t tokens = 2048;   ///< prefill: of each sequence
    trace::Dtype dtype = trace::Dtype::bf16, weights_dtype = trace::Dtype::bf16, kv_dtype = trace::Dtype::bf16;
    std::int64_t layers = 0;  ///< 0: all
    bool head = true;         ///< final norm and lm_head
    std::int64_t page = 0;
    trace::Runtime runtime = trace::Runtime::graph;
    ScheduleWish wish;
};

/// Per layer, as serving engines fuse them: rmsnorm with the residual, qkv_proj, rope with the KV write, attention (and
/// its combine), o_proj, rmsnorm with the residual, gate_up_proj, silu_mul, down_proj; then the final norm and lm_head.
trace::Trace model_trace(const Model& model, const Situation& situation, const device::Device& device);

}  // namespace memwall::workload
