use super::*;

#[test]
fn configs_of_older_files_are_read() {
    let read = |bias: &str| {
        let config = format!(r#"{{"layers": 1, "bias": {bias}}}"#);
        serde_json::from_str::<TransformerConfig>(&config)
    };
    for (text, biases) in [
        ("true", Biases::All),
        ("false", Biases::None),
        (r#""queries_keys_values""#, Biases::QueriesKeysValues),
    ] {
        let config = read(text).unwrap();
        assert_eq!((config.bias, config.head_width), (biases, None));
        let again = serde_json::to_string(&config).unwrap();
        assert!(again.contains(&format!(r#""bias":{text}"#)) && !again.contains("head_width"));
        let again: TransformerConfig = serde_json::from_str(&again).unwrap();
        assert_eq!(again, config);
    }
    assert!(read(r#""some""#).is_err() && read("1").is_err());
    let config: TransformerConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(config, TransformerConfig::default());
}

#[test]
fn impossible_shapes_are_refused_by_name() {
    let default = TransformerConfig::default;
    let bad = [
        (
            TransformerConfig {
                heads: 3,
                ..default()
            },
            "multiple of heads",
        ),
        (
            TransformerConfig {
                head_width: Some(5),
                ..default()
            },
            "head_width",
        ),
        (
            TransformerConfig {
                heads: 1 << 20,
                head_width: Some(1 << 20),
                ..default()
            },
            "size",
        ),
        (
            TransformerConfig {
                layers: 0,
                ..default()
            },
            "layers",
        ),
        (
            TransformerConfig {
                width: 12,
                heads: 4,
                ..default()
            },
            "even",
        ),
        (
            TransformerConfig {
                key_value_heads: Some(3),
                ..default()
            },
            "key_value_heads",
        ),
        (
            TransformerConfig {
                window: Some(0),
                ..default()
            },
            "window",
        ),
        (
            TransformerConfig {
                rotary_scaling: Some(RotaryScaling::Linear { factor: f32::NAN }),
                ..default()
            },
            "rotary_scaling",
        ),
        (
            TransformerConfig {
                dropout: 1.0,
                ..default()
            },
            "dropout",
        ),
        (
            TransformerConfig {
                dropout: f32::NAN,
                ..default()
            },
            "dropout",
        ),
        (
            TransformerConfig {
                context: usize::MAX,
                ..default()
            },
            "context",
        ),
        (
            TransformerConfig {
                norm_epsilon: 0.0,
                ..default()
            },
            "norm_epsilon",
        ),
        (
            TransformerConfig {
                layers: 1 << 20,
                width: 1 << 12,
                ..default()
            },
            "size",
        ),
    ];
    for (config, word) in bad {
        let error = config.parameters(10).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(default().parameters(0).is_err());
    for config in [TransformerConfig::gpt2(), TransformerConfig::llama()] {
        let width = usize::MAX;
        assert!(
            TransformerConfig {
                width,
                ..config.clone()
            }
            .parameters(9)
            .is_err()
        );
        let (width, context) = (1 << 16, 1 << 20);
        assert!(
            TransformerConfig {
                width,
                context,
                ..config
            }
            .parameters(9)
            .is_err()
        );
    }
}
