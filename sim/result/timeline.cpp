#include "result/timeline.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace memwall::result {

namespace fs = std::filesystem;

namespace {

constexpr int kKernelProcess = 1;  // SM i is process kFirstSm + i
constexpr int kFirstSm = 100;
// A thread's number: ten thousands are the row of a lane that needs several, thousands the track, the rest the lane.
constexpr int kPerTrack = 1000;
constexpr int kPerRow = 10000;

std::string track_name(TimelineSpan::Track track, int lane) {
    switch (track) {
        case TimelineSpan::Track::cta:
            return fmt::format("CTA slot {}", lane);
        case TimelineSpan::Track::tma:
            return fmt::format("loads, ring {} stage {}", lane / TimelineSpan::kLanesOfRing,
                               lane % TimelineSpan::kLanesOfRing);
        case TimelineSpan::Track::tensor:
            return fmt::format("tensor core, warpgroup {}", lane);
        case TimelineSpan::Track::vector:
            return fmt::format("vector units, warpgroup {}", lane);
        default:
            return fmt::format("waits for data or stores, warpgroup {}", lane);
    }
}

/// Names come from traces: quotes and control characters are escaped.
std::string quoted(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// A file that appears under its name only when it is complete.
class WholeFile {
public:
    explicit WholeFile(fs::path path)
        : path_(std::move(path)),
          temporary_(path_.string() + ".tmp"),
          out_(temporary_, std::ios::binary | std::ios::trunc) {
        check();
    }
    ~WholeFile() {
        out_.close();
        std::error_code ignored;
        if (!done_) fs::remove(temporary_, ignored);
    }
    WholeFile(const WholeFile&) = delete;
    WholeFile& operator=(const WholeFile&) = delete;

    void write(const std::string& text) {
        out_ << text;
        check();
    }
    void finish() {
        out_.close();
        check();
        std::error_code failed;
        fs::rename(temporary_, path_, failed);
        if (failed) throw HostError(fmt::format("{}: cannot be written: {}", path_.string(), failed.message()));
        done_ = true;
    }

private:
    void check() const {
        if (out_) return;
        const char* why = errno != 0 ? std::strerror(errno) : "the write failed";
        throw HostError(fmt::format("{}: cannot be written: {}", path_.string(), why));
    }

    fs::path path_, temporary_;
    std::ofstream out_;
    bool done_ = false;
};

struct Event {
    std::string name, arguments;
    int process, thread;
    Ps begin, end;
};

class EventWriter {
public:
    explicit EventWriter(WholeFile& file) : file_(file) {
        file_.write("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
    }

    void span(const Event& e) {
        put(fmt::format(R"({{"ph":"X","name":{},"pid":{},"tid":{},"ts":{:.6f},"dur":{:.6f},"args":{{{}}}}})",
                        quoted(e.name), e.process, e.thread, e.begin.us(), (e.end - e.begin).us(), e.arguments));
    }
    void name(const char* what, int process, int thread, const std::string& text) {
        put(fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"name":{}}}}})", what, process, thread,
                        quoted(text)));
    }
    void finish() { file_.write("\n]}\n"); }

private:
    void put(const std::string& event) {
        file_.write(first_ ? event : ",\n" + event);
        first_ = false;
    }

    WholeFile& file_;
    bool first_ = true;
};

void write_kernels(EventWriter& writer, const RunDescription& run, const Observations& seen) {
    writer.name("process_name", kKernelProcess, 0, "kernels");
    writer.name("thread_name", kKernelProcess, 1, "kernels");
    writer.name("thread_name", kKernelProcess, 2, "launch gaps");
    writer.name("thread_name", kKernelProcess, 3, "kernels that overlap the one before");
    Ps reached{};
    for (const KernelObservation& k : seen.kernels) {
        const KernelInfo& info = run.kernels[k.kernel];
        const auto arguments = fmt::format(R"("first_data_us":{:.4f},"drain_us":{:.4f},"ctas":{})", k.first_data.us(),
                                           k.drain.us(), info.ctas);
        writer.span({info.name, arguments, kKernelProcess, k.first_cta < reached ? 3 : 1, k.first_cta, k.end});
        if (k.first_cta > k.ready)
            writer.span({"gap before " + info.name, "", kKernelProcess, 2, k.ready, k.first_cta});
        reached = std::max(reached, k.end);
    }
}

/// Spans of one thread must nest. Two CTAs of an SM may do the same at once: the later one gets a row of its own.
class Rows {
public:
    int row_of(int process, int thread, Ps begin, Ps end) {
        auto& rows = ends_[{process, thread}];
        std::size_t row = 0;
        while (row < rows.size() && rows[row] > begin) ++row;
        if (row == rows.size()) rows.push_back(end);
        rows[row] = end;
        return static_cast<int>(row);
    }

private:
    std::map<std::pair<int, int>, std::vector<Ps>> ends_;
};

void write_sms(EventWriter& writer, const RunDescription& run, const Observations& seen) {
    std::vector<const TimelineSpan*> spans;
    for (const TimelineSpan& span : seen.timeline) spans.push_back(&span);
    std::stable_sort(spans.begin(), spans.end(),
                     [](const TimelineSpan* a, const TimelineSpan* b) { return a->begin < b->begin; });
    Rows rows;
    std::set<std::pair<int, int>> named;
    std::set<int> sms;
    for (const TimelineSpan* s : spans) {
        const int process = kFirstSm + s->sm;
        const int lane = static_cast<int>(s->track) * kPerTrack + s->lane;
        const int row = rows.row_of(process, lane, s->begin, s->end);
        const int thread = lane + row * kPerRow;
        if (sms.insert(s->sm).second) writer.name("process_name", process, 0, fmt::format("SM {}", s->sm));
        if (named.insert({process, thread}).second) {
            writer.name("thread_name", process, thread,
                        track_name(s->track, s->lane) + (row > 0 ? fmt::format(" ({})", row + 1) : ""));
        }
        const auto tile = fmt::format(R"("tile":[{},{},{},{}])", s->tile[0], s->tile[1], s->tile[2], s->tile[3]);
        writer.span({run.kernels[s->kernel].name, tile, process, thread, s->begin, s->end});
    }
}

}  // namespace

void write_timeline(const fs::path& path, const RunDescription& run, const Observations& seen) {
    errno = 0;
    WholeFile file(path);
    EventWriter writer(file);
    write_kernels(writer, run, seen);
    write_sms(writer, run, seen);
    writer.finish();
    file.finish();
}

}  // namespace memwall::result
