#include <fmt/core.h>

#include <set>

#include "result/report.h"

namespace memwall::result {

namespace {

constexpr int kKernelProcess = 1;  // SM i is process kFirstSm + i
constexpr int kFirstSm = 100;

const char* track_name(TimelineSpan::Track track) {
    switch (track) {
        case TimelineSpan::Track::cta: return "CTA slot";
        case TimelineSpan::Track::tma: return "TMA stage";
        case TimelineSpan::Track::tensor: return "tensor core, warpgroup";
        case TimelineSpan::Track::vector: return "vector units, warpgroup";
        default: return "waits for data, warpgroup";
    }
}

int thread_of(const TimelineSpan& span) { return static_cast<int>(span.track) * 100 + span.lane; }

void span_event(std::string& text, const std::string& name, int process, int thread, double begin_us, double us, const std::string& args) {
    text += fmt::format(",\n{{\"ph\":\"X\",\"name\":\"{}\",\"pid\":{},\"tid\":{},\"ts\":{:.6f},\"dur\":{:.6f},\"args\":{{{}}}}}", name, process, thread, begin_us, us, args);
}

void name_event(std::string& text, const char* what, int process, int thread, const std::string& name) {
    text += fmt::format(",\n{{\"ph\":\"M\",\"name\":\"{}\",\"pid\":{},\"tid\":{},\"args\":{{\"name\":\"{}\"}}}}", what, process, thread, name);
}

}  // namespace

std::string to_timeline(const RunDescription& run, const Observations& seen) {
    std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":1,\"tid\":0,\"args\":{\"name\":\"kernels\"}}";
    name_event(text, "thread_name", kKernelProcess, 1, "kernels");
    name_event(text, "thread_name", kKernelProcess, 2, "launch gaps");
    for (const KernelObservation& k : seen.kernels) {
        const KernelInfo& info = run.kernels[k.kernel];
        span_event(text, info.name, kKernelProcess, 1, k.first_cta.us(), (k.end - k.first_cta).us(),
                   fmt::format("\"first_data_us\":{:.4f},\"drain_us\":{:.4f},\"ctas\":{}", k.first_data.us(), k.drain.us(), info.ctas));
        if (k.first_cta > k.ready) span_event(text, "gap", kKernelProcess, 2, k.ready.us(), (k.first_cta - k.ready).us(), "");
    }
    std::set<std::pair<int, int>> named;
    std::set<int> sms;
    for (const TimelineSpan& span : seen.timeline) {
        const int process = kFirstSm + span.sm, thread = thread_of(span);
        if (sms.insert(span.sm).second) name_event(text, "process_name", process, 0, fmt::format("SM {}", span.sm));
        if (named.insert({process, thread}).second) name_event(text, "thread_name", process, thread, fmt::format("{} {}", track_name(span.track), span.lane));
        span_event(text, run.kernels[span.kernel].name, process, thread, span.begin.us(), (span.end - span.begin).us(),
                   fmt::format("\"tile\":[{},{},{},{}]", span.tile[0], span.tile[1], span.tile[2], span.tile[3]));
    }
    return text + "\n]}\n";
}

}  // namespace memwall::result
