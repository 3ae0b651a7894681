//! Rules 1 to 6 at the head of `autoscale/hpa/manifest`.

use mainstay::autoscale::hpa::{
    Bounds, Hpa, Manifest, Metric, Observation, Policy, Quantity, Reading, Rules, Select, Source,
    State, Target,
};

use super::{at, pods, samples};

const FINANCE: &str = include_str!("../manifests/finance-service.yaml");
const EVERYTHING: &str = include_str!("../manifests/everything.yaml");

#[test]
fn the_documents_manifest_is_what_it_says() {
    let manifest = Manifest::from_yaml(FINANCE).unwrap();
    assert_eq!(manifest.name(), "finance-service-hpa");
    assert_eq!(manifest.target().version(), "apps/v1");
    assert_eq!(manifest.target().name(), "finance-service");
    let hpa = manifest.hpa();
    assert_eq!(hpa.bounds(), Bounds::new(3, 50).unwrap());
    let expected = [
        Metric::new(Source::resource("cpu"), Target::Utilization(70)),
        Metric::new(
            Source::pods("request_queue_length"),
            Target::AverageValue(Quantity::from_milli(100_000)),
        ),
    ];
    assert_eq!(hpa.metrics(), expected);
    let behavior = hpa.behavior_of().unwrap();
    assert_eq!(
        behavior.up_of(),
        &Rules::up()
            .window(60)
            .unwrap()
            .policies([Policy::pods(2, 60)])
    );
    assert_eq!(
        behavior.down_of(),
        &Rules::down()
            .window(300)
            .unwrap()
            .policies([Policy::pods(1, 120)])
    );
}

#[test]
fn the_documents_manifest_moves_as_it_says() {
    let hpa = Manifest::from_yaml(FINANCE).unwrap().into_hpa();
    let mut state = State::unknown();
    let mut count = 4;
    let mut moves = Vec::new();
    // Ten minutes of load, then nearly none.
    for tick in 0..200 {
        let now = at(tick * 15);
        let pods = pods(usize::try_from(count).unwrap());
        let busy = tick < 40;
        let cpu = samples(&pods, if busy { 900 } else { 100 }, now);
        let queue = samples(&pods, 10_000, now);
        let readings = [Reading::Pods(&cpu), Reading::Pods(&queue)];
        let seen = Observation::new(count).pods(&pods).readings(&readings);
        let decision = hpa.decide(state, &seen, now);
        if decision.is_change() {
            moves.push((tick * 15, decision.replicas()));
            count = decision.replicas();
        }
        state = decision.applied();
    }
    let up: Vec<_> = moves.iter().filter(|(second, _)| *second < 600).collect();
    // Up to 60 s are waited for after a start with an unknown past; then two pods a minute.
    assert_eq!(up.first(), Some(&&(60, 6)));
    assert!(
        up.windows(2)
            .all(|two| two[1].0 - two[0].0 >= 60 && two[1].1 - two[0].1 <= 2),
        "{up:?}"
    );
    let down: Vec<_> = moves.iter().filter(|(second, _)| *second >= 600).collect();
    assert!(
        down.windows(2)
            .all(|two| two[1].0 - two[0].0 >= 120 && two[0].1 - two[1].1 == 1),
        "{down:?}"
    );
    // The last busy recommendation was at 585 s, and it is seen for less than 300 s.
    assert_eq!(down.first().map(|(second, _)| *second), Some(885));
}

#[test]
fn every_field_is_read() {
    let manifest = Manifest::from_yaml(EVERYTHING).unwrap();
    let hpa = manifest.hpa();
    assert_eq!(hpa.namespace_of(), "shop");
    let labels: Vec<_> = hpa.metrics().iter().map(Metric::label).collect();
    assert_eq!(
        labels,
        [
            "memory resource",
            "cpu container resource utilization (percentage of request)",
            "Ingress metric requests-per-second",
            "external metric backlog(nil)",
            "external metric queue(&LabelSelector{MatchLabels:map[string]string{app: web,tier: gold,},MatchExpressions:\
             []LabelSelectorRequirement{LabelSelectorRequirement{Key:zone,Operator:In,Values:[a b],},\
             LabelSelectorRequirement{Key:old,Operator:DoesNotExist,Values:[],},},})",
        ]
    );
    let memory = Target::AverageValue("512Mi".parse().unwrap());
    assert_eq!(hpa.metrics()[0].target(), memory);
    let Source::External {
        fallback: Some(fallback),
        selector: Some(selector),
        ..
    } = hpa.metrics()[4].source()
    else {
        panic!("{:?}", hpa.metrics()[4]);
    };
    assert_eq!((fallback.replicas(), fallback.seconds()), (10, 180));
    assert_eq!(
        selector.labels().collect::<Vec<_>>(),
        [("app", "web"), ("tier", "gold")]
    );
    let behavior = hpa.behavior_of().unwrap();
    assert_eq!(
        behavior
            .up_of()
            .tolerance_of()
            .map(|tolerance| tolerance.get()),
        Some(0.05)
    );
    assert_eq!(behavior.up_of().select_of(), Select::Min);
    assert_eq!(behavior.up_of().policies_of(), Rules::up().policies_of());
    assert_eq!(behavior.down_of().select_of(), Select::Disabled);
    assert_eq!(hpa.bounds().min(), 0);
}

#[test]
fn json_and_yaml_say_the_same() {
    for text in [FINANCE, EVERYTHING] {
        let manifest = Manifest::from_yaml(text).unwrap();
        let json = as_json(text);
        assert_eq!(Manifest::from_json(&json).unwrap(), manifest);
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    }
}

/// By another reader than ours.
fn as_json(text: &str) -> String {
    use yaml_rust2::{Yaml, YamlLoader};
    fn json(yaml: &Yaml) -> serde_json::Value {
        match yaml {
            Yaml::Integer(value) => (*value).into(),
            Yaml::Real(value) => value.parse::<f64>().unwrap().into(),
            Yaml::String(text) => text.as_str().into(),
            Yaml::Boolean(value) => (*value).into(),
            Yaml::Array(list) => list.iter().map(json).collect(),
            Yaml::Hash(table) => {
                let entry =
                    |(key, value): (&Yaml, &Yaml)| (key.as_str().unwrap().to_owned(), json(value));
                serde_json::Value::Object(table.iter().map(entry).collect())
            }
            Yaml::Null => serde_json::Value::Null,
            other => panic!("{other:?}"),
        }
    }
    json(&YamlLoader::load_from_str(text).unwrap()[0]).to_string()
}

#[test]
fn a_smallest_manifest_has_the_defaults() {
    let text = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a, labels: {x: y}},
        spec: {scaleTargetRef: {kind: Deployment, name: web}, maxReplicas: 5, metrics: null}, status: {currentReplicas: 3}}";
    let manifest = Manifest::from_yaml(text).unwrap();
    assert_eq!(manifest.hpa(), &Hpa::new(Bounds::new(1, 5).unwrap()));
}

/// Each edit of the finance service's manifest, and all that is wrong then.
#[test]
fn an_invalid_manifest_is_refused_with_the_path_of_each_field() {
    let metric = "spec.metrics[0].resource";
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "autoscaling/v2",
            "autoscaling/v1",
            &["apiVersion: expected \"autoscaling/v2\", got \"autoscaling/v1\""],
        ),
        (
            "kind: Horizontal",
            "kind: Vertical",
            &["kind: expected \"HorizontalPodAutoscaler\", got \"VerticalPodAutoscaler\""],
        ),
        (
            "  name: finance-service-hpa",
            "  name: Finance",
            &[
                "metadata.name: expected lower-case letters, digits, \"-\" and \".\", at most 253 of them, got \"Finance\"",
            ],
        ),
        (
            "  name: finance-service-hpa",
            "  labels: {}",
            &[
                "metadata.name: expected lower-case letters, digits, \"-\" and \".\", at most 253 of them, got nothing",
            ],
        ),
        (
            "    kind: Deployment\n",
            "",
            &["spec.scaleTargetRef.kind: expected a name without \"/\" and \"%\", got nothing"],
        ),
        (
            "    name: finance-service\n",
            "    name: a/b\n",
            &["spec.scaleTargetRef.name: expected a name without \"/\" and \"%\", got \"a/b\""],
        ),
        (
            "minReplicas: 3",
            "minReplicas: -1",
            &["spec.minReplicas: expected a count from 0 to 2147483647, got -1"],
        ),
        (
            "minReplicas: 3",
            "minReplicas: 51",
            &["spec.maxReplicas: expected a count of at least minReplicas, 51, got 50"],
        ),
        (
            "minReplicas: 3",
            "minReplicas: \"3\"",
            &["spec.minReplicas: expected a count from 0 to 2147483647, got \"3\""],
        ),
        (
            "minReplicas: 3",
            "minReplicas: 0",
            &[
                "spec.metrics: expected at least one Object or External metric, to support 0 replicas, got none",
            ],
        ),
        (
            "  maxReplicas: 50\n",
            "",
            &["spec.maxReplicas: expected a count from 1 to 2147483647, got nothing"],
        ),
        (
            "maxReplicas: 50",
            "maxReplicas: 0",
            &["spec.maxReplicas: expected a count from 1 to 2147483647, got 0"],
        ),
        (
            "maxReplicas: 50",
            "maxReplicas: 4294967296",
            &["spec.maxReplicas: expected a count from 1 to 2147483647, got 4294967296"],
        ),
        (
            "type: Resource",
            "type: Resources",
            &[
                "spec.metrics[0].type: expected \"ContainerResource\", \"External\", \"Object\", \"Pods\" or \"Resource\", got \"Resources\"",
            ],
        ),
        (
            "type: Resource",
            "type: Pods",
            &[
                "spec.metrics[0].pods: expected a table, for the type is \"Pods\", got nothing",
                "spec.metrics[0].resource: expected only \"pods\", which is of this type, got a table",
            ],
        ),
        (
            "averageUtilization: 70",
            "averageUtilization: 0",
            &[
                "spec.metrics[0].resource.target.averageUtilization: expected a percentage of at least 1, got 0",
            ],
        ),
        (
            "          averageUtilization: 70\n",
            "",
            &[
                "spec.metrics[0].resource.target.averageUtilization: expected this or averageValue, got nothing",
            ],
        ),
        (
            "averageUtilization: 70",
            "averageUtilization: 70\n          averageValue: 1",
            &[
                "spec.metrics[0].resource.target.averageValue: expected this or averageUtilization, got both",
            ],
        ),
        (
            "type: Utilization",
            "type: Percent",
            &[
                "spec.metrics[0].resource.target.type: expected \"AverageValue\", \"Utilization\" or \"Value\", got \"Percent\"",
            ],
        ),
        (
            "averageValue: 100",
            "averageValue: 100q",
            &[
                "spec.metrics[1].pods.target.averageValue: expected a quantity above 0, such as 100, \"500m\" or \"1Gi\", got \"100q\"",
            ],
        ),
        (
            "averageValue: 100",
            "averageValue: -1",
            &[
                "spec.metrics[1].pods.target.averageValue: expected a quantity above 0, such as 100, \"500m\" or \"1Gi\", got -1",
            ],
        ),
        (
            "averageValue: 100",
            "value: 100",
            &["spec.metrics[1].pods.target.averageValue: expected a quantity above 0, got nothing"],
        ),
        (
            "name: request_queue_length",
            "name: ..",
            &[
                "spec.metrics[1].pods.metric.name: expected a name without \"/\" and \"%\", got \"..\"",
            ],
        ),
        (
            "stabilizationWindowSeconds: 60",
            "stabilizationWindowSeconds: 3601",
            &[
                "spec.behavior.scaleUp.stabilizationWindowSeconds: expected 0 to 3600 seconds, got 3601",
            ],
        ),
        (
            "stabilizationWindowSeconds: 60",
            "stabilizationWindowSeconds: 60\n      selectPolicy: Most",
            &[
                "spec.behavior.scaleUp.selectPolicy: expected \"Disabled\", \"Max\" or \"Min\", got \"Most\"",
            ],
        ),
        (
            "stabilizationWindowSeconds: 60",
            "tolerance: -0.1",
            &[
                "spec.behavior.scaleUp.tolerance: expected a quantity of at least 0, such as \"0.05\" or \"50m\", got -0.1",
            ],
        ),
        (
            "periodSeconds: 120",
            "periodSeconds: 1801",
            &[
                "spec.behavior.scaleDown.policies[0].periodSeconds: expected 1 to 1800 seconds, got 1801",
            ],
        ),
        (
            "value: 1\n",
            "value: 0\n",
            &[
                "spec.behavior.scaleDown.policies[0].value: expected a count from 1 to 2147483647, got 0",
            ],
        ),
        (
            "          value: 1\n",
            "",
            &[
                "spec.behavior.scaleDown.policies[0].value: expected a count from 1 to 2147483647, got nothing",
            ],
        ),
        (
            "      policies:\n        - type: Pods\n          value: 1\n          periodSeconds: 120\n",
            "      policies: []\n",
            &[
                "spec.behavior.scaleDown.policies: expected a list of at least one policy, got a list",
            ],
        ),
        (
            "  minReplicas: 3",
            "  minReplicas: 3\n  replicas: 3",
            &[
                "spec.replicas: expected one of the keys scaleTargetRef, minReplicas, maxReplicas, metrics, behavior, got 3",
            ],
        ),
    ];
    for (from, to, expected) in cases {
        assert!(FINANCE.contains(from), "{from}");
        let text = FINANCE.replacen(from, to, 1);
        let errors = Manifest::from_yaml(&text).expect_err(to);
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(&errors, expected, "{to}");
    }
    let all = FINANCE
        .replace("maxReplicas: 50", "maxReplicas: 0")
        .replace("averageUtilization: 70", "averageUtilization: 0")
        .replace("periodSeconds: 60", "periodSeconds: 0");
    let errors = Manifest::from_yaml(&all).unwrap_err();
    let fields: Vec<_> = errors
        .iter()
        .map(|error| error.field().to_owned())
        .collect();
    let target = format!("{metric}.target.averageUtilization");
    assert_eq!(
        fields,
        [
            "spec.maxReplicas",
            &target,
            "spec.behavior.scaleUp.policies[0].periodSeconds"
        ]
    );
}

#[test]
fn an_invalid_object_or_external_metric_is_refused_too() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "type: Value # object",
            "type: AverageValue",
            &["spec.metrics[2].object.target.averageValue"],
        ),
        (
            "type: Value # object",
            "type: Utilization",
            &["spec.metrics[2].object.target.type"],
        ),
        (
            "          kind: Ingress\n",
            "",
            &["spec.metrics[2].object.describedObject.kind"],
        ),
        (
            "type: Value\n          value: 10k",
            "type: Value\n          value: 10k\n          averageValue: 1",
            &["spec.metrics[3].external.target.value"],
        ),
        (
            "failureDurationSeconds: 180",
            "failureDurationSeconds: 60",
            &["spec.metrics[4].external.fallback.failureDurationSeconds"],
        ),
        (
            "replicas: 10",
            "replicas: 0",
            &["spec.metrics[4].external.fallback.replicas"],
        ),
        (
            "operator: In",
            "operator: Inside",
            &["spec.metrics[4].external.metric.selector.matchExpressions[0].operator"],
        ),
        (
            "values: [a, b]",
            "values: []",
            &["spec.metrics[4].external.metric.selector.matchExpressions[0].values"],
        ),
        (
            "tier: gold",
            "tier: 1",
            &["spec.metrics[4].external.metric.selector.matchLabels.tier"],
        ),
        (
            "container: app",
            "container: App",
            &["spec.metrics[1].containerResource.container"],
        ),
        (
            "name: cpu",
            "name: gpu",
            &["spec.metrics[1].containerResource.name"],
        ),
        (
            "namespace: shop",
            "namespace: shop.one",
            &["metadata.namespace"],
        ),
    ];
    for (from, to, expected) in cases {
        assert!(EVERYTHING.contains(from), "{from}");
        let text = EVERYTHING.replacen(from, to, 1);
        let errors = Manifest::from_yaml(&text).expect_err(to);
        let fields: Vec<_> = errors.iter().map(|error| error.field()).collect();
        assert_eq!(&fields, expected, "{to}: {errors}");
    }
}

#[test]
fn what_is_no_manifest_is_refused() {
    for text in ["", "3", "[]", "a: 1: 2", "&a [*a]", "a: 1\n---\nb: 2"] {
        let errors = Manifest::from_yaml(text).unwrap_err();
        assert_eq!(
            errors.iter().next().unwrap().field(),
            "manifest",
            "{text}: {errors}"
        );
    }
    for text in ["", "3", "[]", "{", "{\"a\":1,\"a\":1}"] {
        let errors = Manifest::from_json(text).unwrap_err();
        assert_eq!(
            errors.iter().next().unwrap().field(),
            "manifest",
            "{text}: {errors}"
        );
    }
    let long = " ".repeat((1 << 20) + 1);
    let errors = Manifest::from_yaml(&long).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "manifest: expected at most 1048576 bytes, got 1048577 bytes"
    );
    let deep = "[".repeat(100_000);
    assert!(Manifest::from_json(&deep).is_err());
    assert!(Manifest::from_yaml(&deep).is_err());
}
