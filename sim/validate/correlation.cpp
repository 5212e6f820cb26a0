#include "validate/correlation.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "validate/statistics.h"

namespace memwall::validate {

namespace {

double bytes_per_element(const Record& r) {
    const std::string* dtype = r.find("dtype");
    if (dtype == nullptr) return 2;
    if (*dtype == "fp32" || *dtype == "tf32") return 4;
    if (*dtype == "fp8" || *dtype == "int8") return 1;
    return *dtype == "int4" ? 0.5 : 2;
}

std::string micro_family(const Record& r) {
    if (r.op == "pointer_chase" || r.op == "dsmem_chase") return "latency";
    if (r.op == "wgmma") return "wgmma";
    if (r.op == "launch") return "launch";
    if (r.op == "tma_read") return "bulk loads";
    if (is_stream(r.op)) {
        if (r.timing == Timing::event_with_launch) return "streams, launch included";
        return r.warm ? "streams, resident or partly" : "streams from memory";
    }
    return r.op;
}

std::string kernel_family(const Record& r) {
    if (r.op == "gemm") {
        // One of several that were tried is ranked (rankings_of), and says little of what a library takes.
        const auto is_tile = [](const auto& entry) { return entry.first == "tile"; };
        if (!r.schedule_of_library && std::any_of(r.schedule.begin(), r.schedule.end(), is_tile)) return kGivenTile;
        const double m = r.number("m");
        return m <= 64 ? "gemm, m <= 64" : m < 1024 ? "gemm, m 65 to 1023" : "gemm, m >= 1024";
    }
    if (r.op == "attention_decode") {
        const double kv =
            2 * r.number("batch") * r.number("kv") * r.number("kv_heads") * r.number("head_dim") * bytes_per_element(r);
        return kv > 60e6 ? "decode attention, KV > 60 MB" : "decode attention, KV <= 60 MB";
    }
    if (r.op == "mla_decode") return "latent attention, decode";
    if (r.op == "attention_prefill")
        return r.number("q") >= 2000 ? "prefill attention, 2k tokens and more" : "prefill attention, under 2k tokens";
    if (r.op == "rmsnorm" || r.op == "softmax" || r.op == "elementwise" || is_stream(r.op))
        return r.timing == Timing::profiler ? "memory-bound kernels, to whole microseconds" : "memory-bound kernels";
    return r.op;
}

/// Everything that two records of the same work share.
std::string work_of(const Record& r, bool with_schedule) {
    std::string key = r.device + "|" + r.op + "|" + r.metric + "|" + (r.warm ? "warm" : "cold");
    for (const auto& [name, value] : r.params) key += fmt::format("|{}={}", name, value);
    if (with_schedule) {
        for (const auto& [name, value] : r.schedule) key += fmt::format("|{}={}", name, value);
    }
    return key;
}

/// A value as a time would be ordered: less is better.
double cost(const Record& r, double value) {
    return lower_is_better(r.metric) ? value : 1 / value;
}

double error_of(double simulated, double measured) {
    return 100 * (simulated - measured) / measured;
}

double pearson(const std::vector<std::pair<double, double>>& points) {
    const auto n = static_cast<double>(points.size());
    if (n < 2) return 0;
    double mx = 0, my = 0;
    for (const auto& [x, y] : points) {
        mx += x / n;
        my += y / n;
    }
    double xy = 0, xx = 0, yy = 0;
    for (const auto& [x, y] : points) {
        xy += (x - mx) * (y - my);
        xx += (x - mx) * (x - mx);
        yy += (y - my) * (y - my);
    }
    return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

/// Pairs concordant less discordant over all, summed over groups that may be compared.
double grouped_tau(const std::vector<Result>& results) {
    std::map<std::string, std::vector<std::pair<double, double>>> groups;
    for (const Result& r : results) {
        if (r.compared())
            groups[r.record.device + r.record.op + r.record.metric].emplace_back(r.simulation.simulated,
                                                                                 r.record.value);
    }
    double sum = 0, weight = 0;
    for (const auto& [name, points] : groups) {
        const auto n = static_cast<double>(points.size());
        if (n < 2) continue;
        sum += kendall_tau(points) * n * (n - 1);
        weight += n * (n - 1);
    }
    return weight > 0 ? sum / weight : 0;
}

ErrorStats stats_where(const std::vector<Result>& results, auto&& value_of) {
    std::vector<double> errors;
    for (const Result& r : results) {
        if (!r.compared() || r.simulation.roofline <= 0) continue;
        errors.push_back(error_of(value_of(r), r.record.value));
    }
    return stats_of(std::move(errors));
}

/// The roofline at a fixed efficiency, in the record's metric.
double at_efficiency(const Result& r, double efficiency) {
    return lower_is_better(r.record.metric) ? r.simulation.roofline / efficiency : r.simulation.roofline * efficiency;
}

/// The efficiency with the least mean error over the records of one side: as good as this model can be.
double best_efficiency(const std::vector<Result>& results, bool compute_bound) {
    double best = 1, least = 1e300;
    for (double efficiency = 0.30; efficiency <= 1.0005; efficiency += 0.005) {
        double sum = 0;
        for (const Result& r : results) {
            if (!r.compared() || r.simulation.roofline <= 0 || r.simulation.compute_bound != compute_bound) continue;
            sum += std::abs(error_of(at_efficiency(r, efficiency), r.record.value));
        }
        if (sum < least) {
            least = sum;
            best = efficiency;
        }
    }
    return best;
}

void add_simple_models(const std::vector<Result>& results, Summary& summary) {
    summary.memory_efficiency = best_efficiency(results, false);
    summary.compute_efficiency = best_efficiency(results, true);
    summary.memwall_there = stats_where(results, [](const Result& r) { return r.simulation.simulated; });
    summary.roofline = stats_where(results, [](const Result& r) { return r.simulation.roofline; });
    summary.roofline_fixed = stats_where(results, [&](const Result& r) {
        return at_efficiency(r, r.simulation.compute_bound ? summary.compute_efficiency : summary.memory_efficiency);
    });
}

}  // namespace

std::string family_of(const Record& record) {
    if (record.kind == "micro") return "micro: " + micro_family(record);
    if (record.kind == "kernel") return kernel_family(record);
    return record.op == "model_prefill" ? "model prefill, served" : "model decode, served";
}

std::optional<double> aim_of(const std::string& family) {
    const std::map<std::string, double> aims = {{"gemm, m <= 64", 5},
                                                {"gemm, m >= 1024", 6},
                                                {"memory-bound kernels", 6},
                                                {"memory-bound kernels, to whole microseconds", 6},
                                                {"decode attention, KV > 60 MB", 8},
                                                {"prefill attention, 2k tokens and more", 8},
                                                {"model decode, served", 8}};
    if (const auto aim = aims.find(family); aim != aims.end()) return aim->second;
    if (family.starts_with("micro: ")) return 5;
    return std::nullopt;
}

std::vector<Result> compare(std::vector<Record> records, std::vector<Simulation> simulations) {
    std::vector<Result> results;
    std::map<std::string, double> best;
    for (std::size_t i = 0; i < records.size(); ++i) {
        Result r{std::move(records[i]), std::move(simulations[i]), 0, "", true};
        r.family = family_of(r.record);
        if (r.compared()) {
            r.error_pct = error_of(r.simulation.simulated, r.record.value);
            const double measured = cost(r.record, r.record.value);
            const auto [place, first] = best.emplace(work_of(r.record, true), measured);
            if (!first) place->second = std::min(place->second, measured);
        }
        results.push_back(std::move(r));
    }
    for (Result& r : results) {
        if (r.compared()) r.best = cost(r.record, r.record.value) <= best[work_of(r.record, true)];
    }
    return results;
}

ErrorStats stats_of(std::vector<double> errors) {
    ErrorStats s;
    s.n = static_cast<int>(errors.size());
    if (errors.empty()) return s;
    s.bias_pct = std::accumulate(errors.begin(), errors.end(), 0.0) / s.n;
    for (double& error : errors) error = std::abs(error);
    std::sort(errors.begin(), errors.end());
    s.mape_pct = std::accumulate(errors.begin(), errors.end(), 0.0) / s.n;
    s.median_ape_pct = percentile(errors, 0.5);
    s.p90_ape_pct = percentile(errors, 0.9);
    return s;
}

double kendall_tau(const std::vector<std::pair<double, double>>& points) {
    double order = 0, x_pairs = 0, y_pairs = 0;
    const auto sign = [](double d) { return d > 0 ? 1.0 : d < 0 ? -1.0 : 0.0; };
    for (std::size_t i = 0; i < points.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            const double x = sign(points[i].first - points[j].first), y = sign(points[i].second - points[j].second);
            order += x * y;
            x_pairs += x * x;
            y_pairs += y * y;
        }
    }
    return x_pairs > 0 && y_pairs > 0 ? order / std::sqrt(x_pairs * y_pairs) : 0;
}

std::vector<Ranking> rankings_of(const std::vector<Result>& results) {
    // By work and library, by schedule: the fastest, where several stages of an optimisation have one schedule.
    std::map<std::string, std::map<std::string, const Result*>> groups;
    for (const Result& r : results) {
        if (!r.compared() || r.record.schedule.empty()) continue;
        const Result*& best = groups[work_of(r.record, false) + "|" + r.record.library][work_of(r.record, true)];
        if (best == nullptr || cost(r.record, r.record.value) < cost(best->record, best->record.value)) best = &r;
    }
    std::vector<Ranking> rankings;
    for (const auto& [key, by_schedule] : groups) {
        if (by_schedule.size() < 3) continue;
        std::vector<const Result*> members;
        for (const auto& [schedule, result] : by_schedule) members.push_back(result);
        std::vector<std::pair<double, double>> points;
        const Result *favourite = nullptr, *fastest = nullptr;
        for (const Result* r : members) {
            const auto simulated = [](const Result* x) { return cost(x->record, x->simulation.simulated); };
            const auto measured = [](const Result* x) { return cost(x->record, x->record.value); };
            points.emplace_back(simulated(r), measured(r));
            if (favourite == nullptr || simulated(r) < simulated(favourite)) favourite = r;
            if (fastest == nullptr || measured(r) < measured(fastest)) fastest = r;
        }
        Ranking ranking;
        ranking.what = fmt::format("{} on {}", members.front()->simulation.op, members.front()->record.device);
        if (const std::string& library = members.front()->record.library; !library.empty())
            ranking.what += " (" + library + ")";
        ranking.n = static_cast<int>(members.size());
        ranking.kendall_tau = kendall_tau(points);
        ranking.regret_pct =
            100 * (cost(favourite->record, favourite->record.value) / cost(fastest->record, fastest->record.value) - 1);
        rankings.push_back(std::move(ranking));
    }
    return rankings;
}

Summary summarise(const std::vector<Result>& results) {
    Summary summary;
    std::map<std::string, std::vector<double>> op, source, device, kind, family, family_best;
    std::vector<double> all;
    std::vector<std::pair<double, double>> logs;
    for (const Result& r : results) {
        if (!r.compared()) {
            ++summary.skipped;
            continue;
        }
        ++summary.n;
        all.push_back(r.error_pct);
        logs.emplace_back(std::log(r.simulation.simulated), std::log(r.record.value));
        op[r.record.op].push_back(r.error_pct);
        source[r.record.source].push_back(r.error_pct);
        device[r.record.device].push_back(r.error_pct);
        kind[r.record.kind].push_back(r.error_pct);
        family[r.family].push_back(r.error_pct);
        if (r.best) family_best[r.family].push_back(r.error_pct);
    }
    const auto fill = [](const std::map<std::string, std::vector<double>>& from,
                         std::map<std::string, ErrorStats>& to) {
        for (const auto& [name, errors] : from) to[name] = stats_of(errors);
    };
    fill(op, summary.by_op);
    fill(source, summary.by_source);
    fill(device, summary.by_device);
    fill(kind, summary.by_kind);
    fill(family, summary.by_family);
    fill(family_best, summary.by_family_best);
    summary.all = stats_of(all);
    summary.pearson_log = pearson(logs);
    summary.kendall_tau = grouped_tau(results);
    summary.rankings = rankings_of(results);
    add_simple_models(results, summary);
    return summary;
}

}  // namespace memwall::validate
