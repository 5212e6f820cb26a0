// Each operation of the contract as kernels. Every function appends tensors and kernels to the trace; model.cpp
// composes them with tensors of its own.
#pragma once

#include <string>
#include <vector>

#include "device/device.h"
#include "trace/trace.h"
#include "workload/op_spec.h"
#include "workload/schedule.h"

namespace memwall::workload {

// Streams: every element of the arrays once, with plain loads.

/// rows x cols of several arrays of one dtype; row i of each input makes row i of each output.
struct ElementwiseShape {
    std::int64_t elements;
    int reads, writes;
    trace::Dtype dtype;
    double fp32_ops_per_element = 2;
    double sfu_ops_per_element = 0;
};
/// `inputs` and `outputs`: tensors of at least `elements`, viewed as flat.
void append_elementwise(trace::Trace& trace, const ElementwiseShape& shape, const std::vector<int>& inputs,
                        const std::vector<int>& outputs, const std::string& name, const device::Device& device);
void append_stream(trace::Trace& trace, const OpSpec& op, const device::Device& device);

/// One CTA that stores zeros into a box of a tensor: a memset node, or a fill of a few elements.
void append_clear(trace::Trace& trace, int tensor, const trace::Extents& box, const std::string& op,
                  const std::string& name);

/// Where the scale of a tensor that is narrowed to 8 bits comes from.
enum class Quantize {
    static_scale,   ///< known beforehand: one kernel narrows
    dynamic_scale,  ///< the tensor's largest magnitude: a clear, a search for it, the narrowing, and the scale as fp32
};
/// Narrows `elements` of `source` into `target`, both of any shape.
void append_quantize(trace::Trace& trace, std::int64_t elements, int source, int target, Quantize how,
                     const std::string& name);

// Rows that stay on chip.

struct RowShape {
    std::int64_t rows, cols;
    int reads, writes;  ///< arrays
    trace::Dtype dtype;
    double fp32_ops_per_element, sfu_ops_per_element;
    int reductions;  ///< block-wide, one after another
};
void append_rows(trace::Trace& trace, const RowShape& shape, const std::vector<int>& inputs,
                 const std::vector<int>& outputs, const std::string& op, const std::string& name);
RowShape rmsnorm_shape(std::int64_t rows, std::int64_t cols, trace::Dtype dtype, bool residual);
RowShape softmax_shape(std::int64_t rows, std::int64_t cols, trace::Dtype dtype);

// Attention.

struct AttentionShape {
    std::int64_t batch, heads, kv_heads, q, kv, head_dim;
    bool causal;
    trace::Dtype dtype, kv_dtype;
    std::int64_t page = 0;      ///< KV page in tokens; 0: contiguous
    bool tokens_first = false;  ///< keys and values as [token][head] (NHD: vLLM, FlashAttention) and not [head][token]
                                ///< (HND: TensorRT-LLM)
};
/// By the contract's names, without what only one of prefill and decode has. The type is that of keys and values.
std::vector<std::pair<std::string, std::string>> attention_params(const AttentionShape& shape);
struct AttentionTensors {
    int q, k, v, o;
    int partial = -1;  ///< decode with split KV: partial outputs
};
AttentionTensors add_attention_tensors(trace::Trace& trace, const AttentionShape& shape, const std::string& name);
/// K or V alone, with the shape's layout and pages.
int add_kv_cache(trace::Trace& trace, const AttentionShape& shape, const std::string& name);
/// Writes the keys and values of the `q` last tokens of each sequence into the cache, a CTA for a token, as vLLM's
/// reshape_and_cache_flash does: it looks up the token's slot, then copies the keys of all its heads, then the values.
void append_kv_write(trace::Trace& trace, const AttentionShape& shape, const AttentionTensors& tensors,
                     const std::string& name);
/// How many ways the KV of a decode is split.
int decode_splits(const AttentionShape& shape, const device::Device& device);
void append_attention_decode(trace::Trace& trace, const AttentionShape& shape, const AttentionTensors& tensors,
                             const ScheduleWish& wish, const std::string& name, const device::Device& device);
/// `schedule_in_call`: with pages, the kernel that schedules sequences of any length runs in front; else it has run
/// before, for all layers, and one behind sets the counter of tiles back.
void append_attention_prefill(trace::Trace& trace, const AttentionShape& shape, const AttentionTensors& tensors,
                              const ScheduleWish& wish, bool schedule_in_call, const std::string& name,
                              const device::Device& device);
/// The version without FlashAttention: scores to memory, softmax over them, and a second product.
void append_attention_unfused(trace::Trace& trace, const AttentionShape& shape, const std::string& name,
                              const device::Device& device);

// Microbenchmarks.

void append_tma_read(trace::Trace& trace, const OpSpec& op, const device::Device& device);
void append_wgmma(trace::Trace& trace, const OpSpec& op, const device::Device& device);
void append_launch(trace::Trace& trace, const OpSpec& op);
void append_pointer_chase(trace::Trace& trace, const OpSpec& op, const device::Device& device);
void append_dsmem_chase(trace::Trace& trace, const OpSpec& op);

}  // namespace memwall::workload
