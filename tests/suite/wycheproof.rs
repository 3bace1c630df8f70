//! The format's primitives (docs/format.md, section 2) against test vectors that were designed to
//! break them: Project Wycheproof's, and RFC 9106's for Argon2id, which Wycheproof does not cover.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, AssociatedData, Block, ParamsBuilder, Version};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wycheproof::{TestResult, aead, eddsa, hkdf as hkdf_vectors, mac};

// None of these sets has an "acceptable" case, which a library may accept or refuse. A new one
// would fail here.
fn is_valid(result: TestResult) -> bool {
    assert_ne!(result, TestResult::Acceptable);
    result == TestResult::Valid
}

#[test]
fn aes_256_gcm() {
    let mut ran = 0;
    for group in aead::TestSet::load(aead::TestName::AesGcm).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }

        for test in group.tests {
            let (valid, cipher) =
                (is_valid(test.result), Aes256Gcm::new_from_slice(&test.key).unwrap());
            let nonce = Nonce::try_from(&test.nonce[..]).unwrap();
            let sealed = [&test.ct[..], &test.tag].concat();
            let opened = cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &test.aad }).ok();

            assert_eq!(opened, valid.then(|| test.pt.to_vec()), "{}", test.tc_id);
            let made = cipher.encrypt(&nonce, Payload { msg: &test.pt, aad: &test.aad }).unwrap();
            assert_eq!(made == sealed, valid, "{}", test.tc_id);
            ran += 1;
        }
    }

    assert!(ran >= 60, "{ran}");
}

#[test]
fn hkdf_sha256() {
    let mut ran = 0;
    let groups =
        hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap().test_groups;
    for test in groups.into_iter().flat_map(|group| group.tests) {
        let mut found = vec![0; test.size];
        let done = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut found);

        // The invalid cases ask for more than the 255 blocks that HKDF gives.
        assert_eq!(done.is_ok(), is_valid(test.result), "{}", test.tc_id);
        assert!(done.is_err() || found == *test.okm, "{}", test.tc_id);
        ran += 1;
    }

    assert!(ran >= 80, "{ran}");
}

#[test]
fn hmac_sha256() {
    let mut ran = 0;
    for group in mac::TestSet::load(mac::TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            let hmac = Hmac::<Sha256>::new_from_slice(&test.key).unwrap().chain_update(&test.msg);

            // Half of the groups compare only the first 16 bytes, as `tag_ix` does.
            assert_eq!(test.tag.len() * 8, group.tag_size);
            assert_eq!(
                hmac.verify_truncated_left(&test.tag).is_ok(),
                is_valid(test.result),
                "{}",
                test.tc_id
            );

            ran += 1;
        }
    }

    assert!(ran >= 170, "{ran}");
}

#[test]
fn ed25519_strict() {
    let mut ran = 0;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = VerifyingKey::from_bytes(&group.key.pk[..].try_into().unwrap()).unwrap();

        // Strict verification also refuses keys and R values of small order, which RFC 8032 leaves
        // open. The set has no valid signature of that kind, so strict verification accepts all
        // valid ones here. `keys_of_small_order_are_refused` has one.
        assert!(!key.is_weak());
        for test in group.tests {
            let verified =
                Signature::from_slice(&test.sig).and_then(|s| key.verify_strict(&test.msg, &s));
            assert_eq!(verified.is_ok(), is_valid(test.result), "{}", test.tc_id);
            ran += 1;
        }
    }

    assert!(ran >= 140, "{ran}");
}

#[test]
fn keys_of_small_order_are_refused() {
    // With the neutral element as key (y = 1), R = 1 and S = 0 "sign" every message: S·B = R + k·A.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let key = VerifyingKey::from_bytes(&neutral).unwrap();
    let signature = Signature::from_components(neutral, [0; 32]);

    assert!(key.verify(b"any", &signature).is_ok());
    assert!(key.verify_strict(b"any", &signature).is_err());
}

#[test]
fn argon2id() {
    // RFC 9106, section 5.3.
    let mut costs = ParamsBuilder::new();
    costs.m_cost(32).t_cost(3).p_cost(4).data(AssociatedData::new(&[4; 12]).unwrap());
    let costs = costs.build().unwrap();
    let (mut tag, mut blocks) = ([0; 32], vec![Block::default(); costs.block_count()]);
    let argon2 =
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, costs).unwrap();
    argon2.hash_password_into_with_memory(&[1; 32], &[2; 16], &mut tag, &mut blocks).unwrap();

    let expected = [
        0x0d, 0x64, 0x0d, 0xf5, 0x8d, 0x78, 0x76, 0x6c, 0x08, 0xc0, 0x37, 0xa3, 0x4a, 0x8b, 0x53,
        0xc9, //
        0xd0, 0x1e, 0xf0, 0x45, 0x2d, 0x75, 0xb6, 0x5e, 0xb5, 0x25, 0x20, 0xe9, 0x6b, 0x01, 0xe6,
        0x59,
    ];

    assert_eq!(tag, expected);
}
