#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "result/report.h"

namespace memwall::result {

namespace {

/// "layers.7.q_proj" -> "q_proj": the same operation of every layer is one row.
std::string family(const std::string& name) {
    if (name.rfind("layers.", 0) != 0) return name;
    const auto dot = name.find('.', 7);
    return dot == std::string::npos ? name : name.substr(dot + 1);
}

struct Row {
    double count = 0, us = 0, gap_us = 0, bytes = 0, flops = 0;
    std::map<std::string, double> bounds;
};

std::string size_of(double bytes) {
    const char* const units[] = {"B", "KB", "MB", "GB", "TB"};
    int unit = 0;
    while (bytes >= 1000 && unit < 4) {
        bytes /= 1000;
        ++unit;
    }
    return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : bytes < 10 ? 2 : bytes < 100 ? 1 : 0, units[unit]);
}

std::string bar(double share, int width) {
    return std::string(static_cast<std::size_t>(std::clamp(share * width + 0.5, 0.0, static_cast<double>(width))), '#');
}

}  // namespace

std::string to_table(const RunDescription& run, const RunResult& result) {
    std::vector<std::pair<std::string, Row>> rows;
    for (const OpResult& op : result.ops) {
        const std::string name = family(op.name);
        auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.first == name; });
        if (found == rows.end()) found = rows.insert(rows.end(), {name, Row{}});
        Row& row = found->second;
        row.count += op.times;
        row.us += op.time_us * op.times;
        row.gap_us += op.gap_us * op.times;
        row.bytes += static_cast<double>(op.dram_read_bytes + op.dram_write_bytes) * op.times;
        row.flops += op.flops * op.times;
        row.bounds[op.bound] += op.time_us;
    }
    std::string text =
        fmt::format("{:<22} {:>5} {:>11} {:>6} {:>10} {:>9} {:>7} {:>9} {:>8}  {}\n", "operation", "times", "time us",
                    "share", "HBM bytes", "GB/s", "of peak", "GFLOP", "TFLOP/s", "bound");
    for (const auto& [name, row] : rows) {
        const double gbps = row.bytes / row.us * 1e-3;
        const auto bound = std::max_element(row.bounds.begin(), row.bounds.end(),
                                            [](const auto& a, const auto& b) { return a.second < b.second; });
        text +=
            fmt::format("{:<22} {:>5.0f} {:>11.2f} {:>5.1f}% {:>10} {:>9.0f} {:>6.1f}% {:>9.3g} {:>8.1f}  {}\n",
                        name.substr(0, 22), row.count, row.us, 100 * row.us / result.time_us, size_of(row.bytes), gbps,
                        100 * gbps / run.hbm_peak_gbps, row.flops * 1e-9, row.flops / row.us * 1e-6, bound->first);
    }
    text += fmt::format("\nwhere {:.2f} us go\n", result.time_us);
    const auto line = [&](const std::string& cause, double us) {
        return fmt::format("  {:<46} {:>11.2f} us {:>5.1f}%  {}\n", cause, us, 100 * us / result.time_us,
                           bar(us / result.time_us, 40));
    };
    double small = 0;
    for (const Loss& loss : result.waterfall) {
        if (loss.us < result.time_us * 0.0005) {
            small += loss.us;
        } else {
            text += line(loss.cause, loss.us);
        }
    }
    if (small >= 0.005) text += line("what is smaller", small);
    const auto& l = result.lifetime;
    text += fmt::format(
        "\na tile's life: HBM {:.0f}%, interposer {:.0f}%, L2 {:.0f}%, crossbar {:.0f}%, waiting in shared memory "
        "{:.0f}%, compute {:.0f}%\n",
        100 * l.hbm, 100 * l.interposer, 100 * l.l2, 100 * l.crossbar, 100 * l.smem_wait, 100 * l.compute);
    const double roofline = std::max(result.roofline_compute_us, result.roofline_memory_us);
    text +=
        fmt::format("{}: {:.2f} us at {:.0f} MHz; roofline {:.2f} us (compute {:.2f}, memory {:.2f}), reached {:.1f}%",
                    run.device, result.time_us, run.sm_clock_mhz, roofline, result.roofline_compute_us,
                    result.roofline_memory_us, 100 * roofline / result.time_us);
    if (result.tokens_per_s > 0) text += fmt::format("; {:.1f} tokens/s", result.tokens_per_s);
    text += '\n';
    if (run.layers.simulated < run.layers.all) {
        text += fmt::format("{} of {} layers simulated, the others stand for a steady one\n", run.layers.simulated,
                            run.layers.all);
    }
    return text;
}

std::string to_csv(const RunResult& result) {
    std::string text =
        "name,op,start_us,time_us,gap_us,flops,dram_read_bytes,dram_write_bytes,dram_gbps,tflops,tensor_busy_fraction,"
        "bound\n";
    for (const OpResult& op : result.ops) {
        text += fmt::format("{},{},{:.4f},{:.4f},{:.4f},{:.0f},{},{},{:.2f},{:.3f},{:.4f},{}\n", op.name, op.op,
                            op.start_us, op.time_us, op.gap_us, op.flops, op.dram_read_bytes, op.dram_write_bytes,
                            op.dram_gbps, op.tflops, op.tensor_busy, op.bound);
    }
    return text;
}

}  // namespace memwall::result
