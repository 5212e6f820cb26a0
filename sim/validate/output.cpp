// correlation.json and the Markdown summary.

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/json_reader.h"
#include "validate/correlation.h"
#include "validate/json.h"

namespace memwall::validate {

namespace {

using Json = nlohmann::ordered_json;

double tidy(double value, int digits = 6) {
    return rounded(value, digits);
}

Json stats_json(const ErrorStats& s) {
    return {{"n", s.n},
            {"mape_pct", tidy(s.mape_pct, 4)},
            {"median_ape_pct", tidy(s.median_ape_pct, 4)},
            {"p90_ape_pct", tidy(s.p90_ape_pct, 4)},
            {"bias_pct", tidy(s.bias_pct, 4)}};
}

Json groups_json(const std::map<std::string, ErrorStats>& groups) {
    Json json = Json::object();
    for (const auto& [name, stats] : groups) json[name] = stats_json(stats);
    return json;
}

Json pairs_json(const std::vector<std::pair<std::string, std::string>>& pairs) {
    Json json = Json::object();
    for (const auto& [key, value] : pairs) json[key] = value;
    return json;
}

Json summary_json(const Summary& s) {
    Json rankings = Json::array();
    for (const Ranking& r : s.rankings) {
        rankings.push_back(Json{{"what", r.what},
                                {"n", r.n},
                                {"kendall_tau", tidy(r.kendall_tau, 4)},
                                {"regret_pct", tidy(r.regret_pct, 4)}});
    }
    Json by_family = Json::object();
    for (const auto& [name, stats] : s.by_family) {
        Json family = stats_json(stats);
        if (const auto best = s.by_family_best.find(name); best != s.by_family_best.end())
            family["best_library"] = stats_json(best->second);
        const auto aim = aim_of(name);
        family["aim_median_ape_pct"] = aim ? Json(*aim) : Json(nullptr);
        by_family[name] = std::move(family);
    }
    return {{"n", s.n},
            {"skipped", s.skipped},
            {"mape_pct", tidy(s.all.mape_pct, 4)},
            {"median_ape_pct", tidy(s.all.median_ape_pct, 4)},
            {"p90_ape_pct", tidy(s.all.p90_ape_pct, 4)},
            {"bias_pct", tidy(s.all.bias_pct, 4)},
            {"pearson_log", tidy(s.pearson_log)},
            {"kendall_tau", tidy(s.kendall_tau, 4)},
            {"by_op", groups_json(s.by_op)},
            {"by_source", groups_json(s.by_source)},
            {"by_device", groups_json(s.by_device)},
            {"by_kind", groups_json(s.by_kind)},
            {"by_family", std::move(by_family)},
            {"ranking", std::move(rankings)},
            {"simple_models",
             {{"memwall", stats_json(s.memwall_there)},
              {"roofline", stats_json(s.roofline)},
              {"roofline_fixed_efficiency", stats_json(s.roofline_fixed)},
              {"memory_efficiency", tidy(s.memory_efficiency, 4)},
              {"compute_efficiency", tidy(s.compute_efficiency, 4)}}}};
}

std::string row_of(const std::string& name, const ErrorStats& s, const ErrorStats* best) {
    const auto aim = aim_of(name);
    std::string text = fmt::format("| {} | {} | {:.1f} | {:.1f} | {:.1f} | {:+.1f} |", name, s.n, s.median_ape_pct,
                                   s.mape_pct, s.p90_ape_pct, s.bias_pct);
    text += best != nullptr ? fmt::format(" {:.1f} ({}) |", best->median_ape_pct, best->n) : " |";
    return text + (aim ? fmt::format(" {} |", *aim) : " |") + "\n";
}

std::string table_of(const char* what, const std::map<std::string, ErrorStats>& groups) {
    std::string text =
        fmt::format("\n| {} | n | median % | mean % | p90 % | bias % |\n|---|---|---|---|---|---|\n", what);
    for (const auto& [name, s] : groups) {
        text += fmt::format("| {} | {} | {:.1f} | {:.1f} | {:.1f} | {:+.1f} |\n", name, s.n, s.median_ape_pct,
                            s.mape_pct, s.p90_ape_pct, s.bias_pct);
    }
    return text;
}

}  // namespace

Json result_json(const Result& r) {
    const Simulation& s = r.simulation;
    Json json = {{"id", r.record.id},         {"op", r.record.op},           {"device", r.record.device},
                 {"metric", r.record.metric}, {"measured", nullptr},         {"simulated", nullptr},
                 {"error_pct", nullptr},      {"skipped", nullptr},          {"kind", r.record.kind},
                 {"family", r.family},        {"source", r.record.source},   {"library", r.record.library},
                 {"where", r.record.where},   {"locator", r.record.locator}, {"params", pairs_json(r.record.params)}};
    if (!r.record.schedule.empty()) json["schedule"] = pairs_json(r.record.schedule);
    if (r.record.value > 0) json["measured"] = r.record.value;
    if (!r.compared()) {
        json["skipped"] = s.skipped;
        return json;
    }
    json["simulated"] = tidy(s.simulated);
    json["error_pct"] = tidy(r.error_pct, 4);
    json["best_library"] = r.best;
    json["simulated_as"] = {{"device", s.device},
                            {"op", s.op},
                            {"schedule", s.schedule},
                            {"sm_clock_mhz", tidy(s.sm_clock_mhz)},
                            {"board_w", tidy(s.board_w, 4)},
                            {"bound", s.bound},
                            {"time_us", tidy(s.time_us)},
                            {"bytes", tidy(s.size)},
                            {"note", s.note}};
    json["roofline"] = s.roofline > 0 ? Json(tidy(s.roofline)) : Json(nullptr);
    Json waterfall = Json::array();
    for (const auto& [cause, us] : s.waterfall) waterfall.push_back(Json{{"cause", cause}, {"us", tidy(us)}});
    json["waterfall_us"] = std::move(waterfall);
    return json;
}

Json correlation_json(const std::vector<Result>& results, const Summary& summary) {
    Json records = Json::array();
    for (const Result& r : results) records.push_back(result_json(r));
    return {{"schema", "memwall-correlation/1"}, {"summary", summary_json(summary)}, {"records", std::move(records)}};
}

std::string to_json(const std::vector<Result>& results, const Summary& summary) {
    return correlation_json(results, summary).dump(1) + "\n";
}

std::string to_markdown(const std::vector<Result>& results, const Summary& s) {
    std::string text = fmt::format(
        "# Correlation\n\n{} records simulated, {} skipped. Median absolute error {:.1f} %, mean {:.1f} %, 90th "
        "percentile "
        "{:.1f} %; correlation of the logarithms {:.4f}; Kendall's tau within an operation {:.3f}.\n\n"
        "Micro records may set a part's number; kernels and models are predictions, and nothing is fitted to them. "
        "\"Best library\" keeps, of records of the same work, the fastest: the schedules here are those of good "
        "libraries.\n\n"
        "| family | n | median % | mean % | p90 % | bias % | best library, median % (n) | aim % |\n"
        "|---|---|---|---|---|---|---|---|\n",
        s.n, s.skipped, s.all.median_ape_pct, s.all.mape_pct, s.all.p90_ape_pct, s.pearson_log, s.kendall_tau);
    for (const auto& [name, stats] : s.by_family) {
        const auto best = s.by_family_best.find(name);
        text += row_of(name, stats, best == s.by_family_best.end() ? nullptr : &best->second);
    }
    text += fmt::format(
        "\nSimpler models, on the {} records that a roofline says something of:\n\n"
        "| model | median % | mean % | p90 % |\n|---|---|---|---|\n",
        s.memwall_there.n);
    const auto model = [&](const std::string& name, const ErrorStats& e) {
        text += fmt::format("| {} | {:.1f} | {:.1f} | {:.1f} |\n", name, e.median_ape_pct, e.mape_pct, e.p90_ape_pct);
    };
    model("memwall", s.memwall_there);
    model("roofline", s.roofline);
    model(fmt::format("roofline at {:.1f} % of memory and {:.1f} % of arithmetic, the best two for these records",
                      100 * s.memory_efficiency, 100 * s.compute_efficiency),
          s.roofline_fixed);
    text += table_of("operation", s.by_op) + table_of("source", s.by_source) + table_of("device", s.by_device);
    if (!s.rankings.empty()) {
        text += "\n| schedules of | n | Kendall's tau | regret % |\n|---|---|---|---|\n";
        for (const Ranking& r : s.rankings)
            text += fmt::format("| {} | {} | {:.2f} | {:.1f} |\n", r.what, r.n, r.kendall_tau, r.regret_pct);
    }
    std::map<std::string, int> reasons;
    for (const Result& r : results) {
        if (!r.compared()) ++reasons[r.simulation.skipped];
    }
    if (!reasons.empty()) text += "\n| skipped because | n |\n|---|---|\n";
    for (const auto& [reason, n] : reasons) text += fmt::format("| {} | {} |\n", reason, n);
    return text;
}

}  // namespace memwall::validate
