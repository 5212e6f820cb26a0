// One half of the SM-to-L2 crossbar: the request network from its SMs to the slices of its L2 partition, and the
// response network back.
//
// The real part is a switched network of which NVIDIA publishes nothing; what is modelled is what microbenchmarks see
// of it: ports of limited width at SM, TPC, GPC and slice (measured: reads of a whole GPC stop at about 9 times one SM,
// writes at 12.4), the requests of several SMs of a CPC for one line joined before they reach a slice (measured: slice
// counters show a third of the bytes when all SMs read one buffer; where they are joined is not published), and
// credits: a slice holds a bounded number of lines, further requests wait here in order, and an SM whose requests wait
// runs out of its own window.
#pragma once

#include <vector>

#include "base/observations.h"
#include "base/ring_queue.h"
#include "chip/crossbar/coalescer.h"
#include "chip/wiring.h"

namespace memwall::chip {

class Sm;
class L2Partition;

class Crossbar : public PartOf<Crossbar> {
public:
    enum Kind : std::uint32_t { request, response };

    Crossbar(const sc_core::sc_module_name& name, Shared& shared, int half, std::uint32_t id);
    void connect(L2Partition& partition, const std::vector<Sm*>& sms) {
        partition_ = &partition;
        sms_ = sms;
    }

    /// payload: chunk.
    void handle(const Message& message);
    void prefetch(const WaitingMessage& message, int stage) const {
        if (stage == 0) {
            shared_.chunks.prefetch(message.payload);
        } else if (stage == 2 && message.kind() == response) {
            const std::uint32_t follower = shared_.chunks[message.payload].followers;
            if (follower != kNone) shared_.chunks.prefetch(follower);
        }
    }

    [[nodiscard]] const Counters& counters() const { return counters_; }
    [[nodiscard]] std::uint64_t bytes_to_sms(int gpc) const { return gpc_down_bytes_[static_cast<std::size_t>(gpc)]; }
    [[nodiscard]] std::uint64_t bytes_from_sms(int gpc) const { return gpc_up_bytes_[static_cast<std::size_t>(gpc)]; }
    /// Requests passed on and not yet answered, in chunks.
    [[nodiscard]] std::uint64_t held() const { return in_ - out_; }

private:
    void accept(std::uint32_t chunk, std::int64_t now_ps);
    void forward(std::uint32_t chunk, std::int64_t now_ps);
    void answer(std::uint32_t chunk, std::int64_t now_ps);
    void deliver_to_sm(std::uint32_t chunk, double at_ps, double bytes);
    void note_time(Chunk& chunk, std::int64_t until_ps);
    double pass_up(const Chunk& chunk, std::int64_t now_ps);

    Shared& shared_;
    Wiring& wiring_;
    L2Partition* partition_ = nullptr;
    std::vector<Sm*> sms_;

    std::vector<Server> sm_up_, sm_down_, tpc_up_, tpc_down_, gpc_up_, gpc_down_;
    std::vector<Coalescer> coalescers_;  // by CPC
    std::vector<int> credits_;           // by slice: lines
    struct Waiting {
        std::uint32_t chunk;
        int lines;
        std::int64_t at_ps;  // when it has passed its own ports
    };
    std::vector<RingQueue<Waiting>> waiting_;  // by slice: chunks without a credit
    double header_bytes_;
    std::vector<std::uint64_t> gpc_up_bytes_, gpc_down_bytes_;
    std::uint64_t in_ = 0, out_ = 0;
    Counters counters_;
};

}  // namespace memwall::chip
