// New keys and values go into the cache in front of attention.

#include <algorithm>

#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

void append_kv_write(trace::Trace& trace, const AttentionShape& s, const AttentionTensors& tensors,
                     const std::string& name) {
    using trace::LoadPath;
    constexpr int kSlot = 0, kRow = 1;  // rings
    constexpr std::int64_t kMostThreads = 512, kSlotWords = 2;
    const std::int64_t elements = s.kv_heads * s.head_dim;
    const std::int64_t in_bytes = elements * trace::bits_of(s.dtype) / 8;
    trace::Kernel k;
    k.name = name + ".kv_write";
    k.op = "kv_write";
    k.params = attention_params(s);
    k.work.names = {"batch", "token", "", ""};
    k.work.extent = {s.batch, s.q, 1, 1};
    k.ctas = k.work.items();
    k.registers_per_thread = 32;
    k.math_dtype = s.dtype;
    k.rings = {{"slot", 1, kSlotWords * 4, 1, true}, {"row", 1, in_bytes, 1, true}};
    const int slots = trace.add_tensor(name + ".slots", trace::Dtype::fp32, {s.batch, s.q, kSlotWords});
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency)};
    look_up(steps, move(StepKind::load, kSlot, slots, {item(0), item(1), 0}, {1, 1, kSlotWords}, LoadPath::plain));
    const auto copy = [&](int cache, const std::string& what) {
        const int fresh = trace.add_tensor(name + what, s.dtype, {s.batch, s.q, s.kv_heads, s.head_dim});
        append(steps, {acquire(kRow),
                       move(StepKind::load, kRow, fresh, {item(0), item(1), 0, 0}, {1, 1, s.kv_heads, s.head_dim},
                            LoadPath::plain),
                       commit(kRow), wait_full(kRow),
                       move(StepKind::store, -1, cache, {item(0), 0, item(1) + (s.kv - s.q), 0},
                            {1, s.kv_heads, 1, s.head_dim}, LoadPath::plain),
                       release(kRow)});
    };
    copy(tensors.k, ".new_k");
    copy(tensors.v, ".new_v");
    k.roles = {{"threads", 1, static_cast<int>(ceil_div(std::min(elements, kMostThreads), 32)), std::move(steps)}};
    const auto rows = static_cast<std::uint64_t>(2 * s.batch * s.q);
    k.compulsory_read_bytes = rows * static_cast<std::uint64_t>(in_bytes);
    k.compulsory_write_bytes = rows * static_cast<std::uint64_t>(elements * trace::bits_of(s.kv_dtype) / 8);
    trace.kernels.push_back(std::move(k));
}

}  // namespace memwall::workload
