#include "chip/crossbar/crossbar.h"

#include <algorithm>

#include "chip/l2/partition.h"
#include "chip/sm/sm.h"

namespace memwall::chip {

Crossbar::Crossbar(const sc_core::sc_module_name& name, Shared& shared, int half, std::uint32_t id)
    : PartOf(name, shared.grid, id),
      shared_(shared),
      wiring_(shared.wiring),
      header_bytes_(shared.wiring.device.crossbar.request_bytes) {
    const auto sms = wiring_.sm_gpc.size();
    const auto tpcs = static_cast<std::size_t>(1 + *std::max_element(wiring_.sm_tpc.begin(), wiring_.sm_tpc.end()));
    const auto gpcs = static_cast<std::size_t>(wiring_.device.gpcs());
    for (auto* ports : {&sm_up_, &sm_down_}) ports->resize(sms);
    for (auto* ports : {&tpc_up_, &tpc_down_}) ports->resize(tpcs);
    for (auto* ports : {&gpc_up_, &gpc_down_}) ports->resize(gpcs);
    const auto cpcs = static_cast<std::size_t>(1 + *std::max_element(wiring_.sm_cpc.begin(), wiring_.sm_cpc.end()));
    coalescers_.assign(cpcs, Coalescer(wiring_.device.crossbar.coalescer_entries));
    const auto slices = wiring_.partition_slices[static_cast<std::size_t>(half)].size();
    credits_.assign(slices, wiring_.device.l2.requests_per_slice);
    waiting_.resize(slices);
    gpc_up_bytes_.resize(gpcs);
    gpc_down_bytes_.resize(gpcs);
}

void Crossbar::handle(const Message& message) {
    if (message.kind == request) {
        accept(message.payload, message.due_ps);
    } else {
        answer(message.payload, message.due_ps);
    }
}

double Crossbar::pass_up(const Chunk& chunk, std::int64_t now_ps) {
    // A request is a header per line; a write carries its bytes as well.
    const bool write = chunk.access != Access::read;
    const double bytes = header_bytes_ * chunk.lines + (write ? chunk.bytes : 0);
    const auto sm = chunk.sm;
    const auto gpc = static_cast<std::size_t>(wiring_.sm_gpc[sm]);
    double at = sm_up_[sm].reserve(static_cast<double>(now_ps), bytes * wiring_.sm_port_up);
    at = tpc_up_[static_cast<std::size_t>(wiring_.sm_tpc[sm])].reserve(at, bytes * wiring_.tpc_port_up);
    at = gpc_up_[gpc].reserve(at, bytes * wiring_.gpc_port_up);
    if (write) gpc_up_bytes_[gpc] += chunk.bytes;
    return at;
}

void Crossbar::accept(std::uint32_t index, std::int64_t now_ps) {
    Chunk& chunk = shared_.chunks[index];
    ++in_;
    chunk.followers = kNone;
    const auto at_ps = static_cast<std::int64_t>(pass_up(chunk, now_ps));
    if (chunk.access == Access::read && chunk.copies == 1) {
        auto& coalescer = coalescers_[static_cast<std::size_t>(wiring_.sm_cpc[chunk.sm])];
        const std::uint32_t leader = coalescer.find_or_lead(shared_.chunks, index);
        if (leader != kNone) {
            chunk.followers = shared_.chunks[leader].followers;
            shared_.chunks[leader].followers = index;
            counters_.l2_coalesced_bytes += chunk.bytes;
            return;
        }
    }
    const auto slice = static_cast<std::size_t>(wiring_.slice_index[chunk.slice]);
    if (!waiting_[slice].empty() || credits_[slice] < chunk.lines) {
        waiting_[slice].push({index, chunk.lines, at_ps});
    } else {
        forward(index, at_ps);
    }
}

void Crossbar::note_time(Chunk& chunk, std::int64_t until_ps) {
    const double spent = chunk.enter_next(until_ps);
    if (chunk.access == Access::read) counters_.life.crossbar += spent * chunk.bytes;
}

void Crossbar::forward(std::uint32_t index, std::int64_t at_ps) {
    Chunk& chunk = shared_.chunks[index];
    credits_[static_cast<std::size_t>(wiring_.slice_index[chunk.slice])] -= chunk.lines;
    const std::int64_t due = at_ps + wiring_.crossbar_to_slice_ps[chunk.slice];
    note_time(chunk, due);
    send(*partition_, due, L2Partition::request, index);
}

void Crossbar::answer(std::uint32_t index, std::int64_t now_ps) {
    Chunk& chunk = shared_.chunks[index];
    // The credit comes back with the answer; the first request that waits for this slice takes it.
    const auto slice = static_cast<std::size_t>(wiring_.slice_index[chunk.slice]);
    credits_[slice] += chunk.lines;
    auto& waiting = waiting_[slice];
    while (!waiting.empty() && credits_[slice] >= waiting.front().lines) {
        forward(waiting.front().chunk, std::max(now_ps, waiting.front().at_ps));
        waiting.pop();
        if (!waiting.empty()) shared_.chunks.prefetch(waiting.front().chunk);
    }
    const auto gpc = static_cast<std::size_t>(wiring_.sm_gpc[chunk.sm]);
    const bool read = chunk.access == Access::read;
    const double bytes = read ? chunk.bytes : header_bytes_;
    if (read && chunk.copies == 1)
        coalescers_[static_cast<std::size_t>(wiring_.sm_cpc[chunk.sm])].forget(shared_.chunks, index);
    const double begin = gpc_down_[gpc].reserve(static_cast<double>(now_ps), bytes * wiring_.gpc_port_down);
    if (read) gpc_down_bytes_[gpc] += chunk.bytes;
    for (std::uint32_t each = index; each != kNone;) {
        const std::uint32_t follower = shared_.chunks[each].followers;
        if (follower != kNone) shared_.chunks.prefetch(follower);
        deliver_to_sm(each, begin, bytes);
        each = follower;
    }
}

void Crossbar::deliver_to_sm(std::uint32_t index, double at_ps, double bytes) {
    Chunk& chunk = shared_.chunks[index];
    ++out_;
    const int copies = chunk.copies;
    const double tpc_span = bytes * wiring_.tpc_port_down, sm_span = bytes * wiring_.sm_port_down;
    for (int copy = 0; copy < copies; ++copy) {
        const std::size_t sm = copy == 0 ? chunk.sm : sms_[chunk.sm]->multicast_peer(chunk, copy);
        const double at_tpc = tpc_down_[static_cast<std::size_t>(wiring_.sm_tpc[sm])].reserve(at_ps, tpc_span);
        const double at_sm = sm_down_[sm].reserve(at_tpc, sm_span);
        // The head of the response cuts through; the SM has all of it when the narrowest port, its own, is done.
        const auto due = static_cast<std::int64_t>(at_sm + sm_span) + wiring_.sm_to_crossbar_ps[sm];
        if (copy == 0) note_time(chunk, due);
        static_assert(Sm::response == 0);
        send_in_order(*sms_[sm], due, index);
    }
}

}  // namespace memwall::chip
