// Activations from 16 to 8 bits in front of a product, as TensorRT-LLM does it for a whole tensor
// (cudaFp8Utils.cu: invokeComputeScalesAndQuantizeMatrix; the grid sizes are its own).

#include <algorithm>

#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr std::int64_t kScaleBytes = 32;  // one number, in a sector of its own

/// A kernel of `ctas` CTAs, each with the work item's third coordinate as its number.
trace::Kernel blocks_kernel(const std::string& name, std::int64_t ctas) {
    trace::Kernel k;
    k.name = name;
    k.op = "quantize";
    k.work.names = {"", "", "block", ""};
    k.work.extent = {1, 1, ctas, 1};
    k.ctas = ctas;
    k.registers_per_thread = 32;
    k.math_dtype = trace::Dtype::fp32;
    return k;
}

Step touch_scale(StepKind kind, int ring, int scale) {
    return move(kind, ring, scale, {0, 0}, {1, kScaleBytes}, LoadPath::plain);
}

/// The largest magnitude: 1024 CTAs of 1024 threads, an element a thread and turn, four turns in flight (the compiler's
/// unrolling). At its end a CTA reads the maximum so far; the few exchanges that a larger one causes are left out.
void append_largest(trace::Trace& trace, std::int64_t elements, int source, int scale, const std::string& name) {
    constexpr std::int64_t kCtas = 1024, kThreads = 1024;
    constexpr int kUnroll = 4;
    const std::int64_t blocks = ceil_div(elements, kThreads);
    const std::int64_t turns = ceil_div(blocks, kCtas);
    const std::int64_t element_bytes = trace::bits_of(trace.tensors[static_cast<std::size_t>(source)].dtype) / 8;
    const int rows = as_matrix(trace, source, 1, elements);
    const Affine first = item(2, kThreads) + turn(0, kThreads * kCtas);
    trace::Kernel k = blocks_kernel(name, kCtas);
    k.rings = {{"registers", kUnroll, kThreads * element_bytes, 1, true}, {"maximum", 1, kScaleBytes, 1, true}};
    // Issuing and using threads are the same on the chip; as two roles the loads run ahead by the unrolling.
    k.roles = {
        {"issue",
         1,
         1,
         {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), loop(turns), acquire(0),
          move(StepKind::load, 0, rows, {0, first}, {1, kThreads}, LoadPath::plain), commit(0), end_loop()}},
        {"use",
         1,
         static_cast<int>(kThreads / 32) - 1,
         {loop(turns), wait_full(0), vector({3.0 * kThreads, 0, 0, 0}), release(0), end_loop(),  // widen, abs, max
          vector({0, 0, 0, kReductionCycles}), acquire(1), touch_scale(StepKind::load, 1, scale), commit(1),
          wait_full(1), release(1), touch_scale(StepKind::store, -1, scale)}}};
    k.compulsory_read_bytes = static_cast<std::uint64_t>(elements * element_bytes);
    trace.kernels.push_back(std::move(k));
}

/// Eight elements a thread, 256 threads a CTA: each reads the scale beside its elements, multiplies and narrows.
void append_narrow(trace::Trace& trace, std::int64_t elements, int source, int target, int scale,
                   const std::string& name) {
    constexpr std::int64_t kThreads = 256, kElements = 8 * kThreads, kMostCtas = 65536;
    const std::int64_t blocks = ceil_div(elements, kElements);
    const std::int64_t ctas = std::min(blocks, kMostCtas);
    const auto bits = [&](int tensor) { return trace::bits_of(trace.tensors[static_cast<std::size_t>(tensor)].dtype); };
    const std::int64_t block_bytes = kElements * bits(source) / 8;
    const int in = as_matrix(trace, source, 1, elements), out = as_matrix(trace, target, 1, elements);
    const Origin first = {0, item(2, kElements) + turn(0, kElements * ctas)};
    trace::Kernel k = blocks_kernel(name, ctas);
    k.rings = {{"registers", 1, block_bytes + kScaleBytes, 1, true}};
    k.roles = {{"threads",
                1,
                static_cast<int>(kThreads / 32),
                {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), loop(ceil_div(blocks, ctas)),
                 acquire(0), touch_scale(StepKind::load, 0, scale),
                 move(StepKind::load, 0, in, first, {1, kElements}, LoadPath::plain), commit(0), wait_full(0),
                 vector({2.5 * kElements, 0, 0, 30}),  // widen, multiply, and a conversion of two at a time
                 move(StepKind::store, -1, out, first, {1, kElements}, LoadPath::plain), release(0), end_loop()}}};
    k.compulsory_read_bytes = static_cast<std::uint64_t>(elements * bits(source) / 8);
    k.compulsory_write_bytes = static_cast<std::uint64_t>(elements * bits(target) / 8);
    trace.kernels.push_back(std::move(k));
}

/// The scale itself becomes fp32, in a kernel of one thread, because the product wants it so.
void append_widen(trace::Trace& trace, int scale, const std::string& name) {
    trace::Kernel k = blocks_kernel(name, 1);
    k.rings = {{"registers", 1, kScaleBytes, 1, true}};
    k.roles = {{"threads",
                1,
                4,
                {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(0),
                 touch_scale(StepKind::load, 0, scale), commit(0), wait_full(0), vector({32, 0, 0, 30}),
                 touch_scale(StepKind::store, -1, scale), release(0)}}};
    k.compulsory_read_bytes = k.compulsory_write_bytes = kScaleBytes;
    trace.kernels.push_back(std::move(k));
}

}  // namespace

void append_clear(trace::Trace& trace, int tensor, const trace::Extents& box, const std::string& op,
                  const std::string& name) {
    trace::Kernel k = blocks_kernel(name, 1);
    k.op = op;
    k.roles = {{"threads",
                1,
                1,
                {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency),
                 move(StepKind::store, -1, tensor, {}, box, LoadPath::plain)}}};
    const trace::Tensor& cleared = trace.tensors[static_cast<std::size_t>(tensor)];
    std::int64_t elements = 1;
    for (int d = 0; d < cleared.rank; ++d) elements *= box[static_cast<std::size_t>(d)];
    k.compulsory_write_bytes = static_cast<std::uint64_t>(elements * trace::bits_of(cleared.dtype) / 8);
    trace.kernels.push_back(std::move(k));
}

void append_quantize(trace::Trace& trace, std::int64_t elements, int source, int target, Quantize how,
                     const std::string& name) {
    const int scale = trace.add_tensor(name + ".scale", trace::Dtype::int8, {1, kScaleBytes});
    const bool dynamic = how == Quantize::dynamic_scale;
    if (dynamic) {
        append_clear(trace, scale, {1, kScaleBytes}, "quantize", name + ".clear");
        append_largest(trace, elements, source, scale, name + ".amax");
    }
    append_narrow(trace, elements, source, target, scale, name);
    if (dynamic) append_widen(trace, scale, name + ".widen_scale");
}

}  // namespace memwall::workload
