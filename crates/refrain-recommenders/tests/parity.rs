//! The same neural models on every device: a little training and the scores afterwards, compared with
//! the CPU's kernels. Run with `--features ndarray` or `--features wgpu`.
#![cfg(any(feature = "ndarray", feature = "wgpu", feature = "cuda"))]
#![allow(clippy::unwrap_used)]

use refrain_data::Interactions;
use refrain_recommenders::{
    Bert4Rec, Device, Gru4Rec, NextItemLoss, NextItemModel, Order, Recommender, SasRec, Training,
    TwoTower,
};

/// How far two devices may drift apart in ten steps: sums are taken in another order.
const TOLERANCE: f32 = 5e-3;

fn log() -> Interactions {
    let mut builder = Interactions::builder();
    for user in 0..20usize {
        for step in 0..3 + user % 6 {
            let item = (user * 7 + step * (1 + user % 2)) % 15;
            builder.push(user, item, 1.0, Some(step as i64)).unwrap();
        }
    }
    builder.build().unwrap()
}

fn scores(model: &NextItemModel) -> Vec<f32> {
    let mut all = Vec::new();
    let mut scores = vec![0.0; model.items().len()];
    for user in 0..model.users().len() as u32 {
        model.score(user, &mut scores).unwrap();
        all.extend_from_slice(&scores);
    }
    all
}

/// Every kind of model with another loss, on one device.
fn models(device: &Device) -> Vec<NextItemModel> {
    let training = |loss| Training {
        epochs: 2,
        batch: 4,
        learning_rate: 5e-3,
        loss,
        ..Training::default()
    };
    let log = log();
    let sasrec = |order, loss| SasRec {
        width: 8,
        layers: 1,
        context: 6,
        dropout: 0.1,
        order,
        training: training(loss),
        ..SasRec::default()
    };
    let sampled = NextItemLoss::SampledSoftmax { negatives: 6 };
    let gbce = NextItemLoss::Gbce {
        negatives: 6,
        calibration: 0.75,
    };
    let gru = Gru4Rec {
        width: 8,
        layers: 2,
        context: 6,
        dropout: 0.1,
        training: training(NextItemLoss::Softmax),
    };
    let bert = Bert4Rec {
        width: 8,
        layers: 1,
        context: 6,
        dropout: 0.1,
        training: training(sampled),
        ..Bert4Rec::default()
    };
    let tower = TwoTower {
        width: 8,
        hidden: 6,
        dropout: 0.1,
        training: training(sampled),
        ..TwoTower::default()
    };
    vec![
        sasrec(Order::Learned, NextItemLoss::Softmax)
            .fit(&log, device)
            .unwrap(),
        sasrec(Order::Rotary, gbce).fit(&log, device).unwrap(),
        gru.fit(&log, device).unwrap(),
        bert.fit(&log, device).unwrap(),
        tower.fit(&log, device).unwrap(),
    ]
}

#[test]
fn every_device_trains_and_answers_alike() {
    let expected = models(&refrain_core::device("flex").unwrap());
    for device in refrain_core::devices() {
        if device == "cuda" || device == "flex" {
            continue; // the one may be compiled in where there is none, the other is compared with
        }
        let got = models(&refrain_core::device(device).unwrap());
        for (got, expected) in got.iter().zip(&expected) {
            for (a, b) in scores(got).iter().zip(scores(expected)) {
                let name = got.name();
                assert!(
                    (a - b).abs() <= TOLERANCE,
                    "{name} on {device}: {a} and {b}"
                );
            }
        }
    }
}
