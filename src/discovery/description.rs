//! The form of a description of mail servers in XML (draft-ietf-mailmaint-autoconfig): what of it is
//! read. Parts may stand in any order, and there are many more. Of entities only XML's own five are
//! known, so none can grow.

use serde::Deserialize;

pub fn parse(text: &str) -> Result<ClientConfig, quick_xml::DeError> {
    quick_xml::de::from_str(text)
}

#[derive(Deserialize)]
pub struct ClientConfig {
    #[serde(rename = "$value", default)]
    pub parts: Vec<Part>,
}

#[derive(Deserialize)]
pub enum Part {
    #[serde(rename = "emailProvider")]
    Provider(Provider),
    #[serde(rename = "oAuth2")]
    OAuth2(OAuth2),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub struct Provider {
    #[serde(rename = "$value", default)]
    pub parts: Vec<ProviderPart>,
}

#[derive(Deserialize)]
pub enum ProviderPart {
    #[serde(rename = "incomingServer")]
    Incoming(Incoming),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub struct Incoming {
    #[serde(rename = "@type", default)]
    pub kind: String,
    #[serde(rename = "$value", default)]
    pub settings: Vec<Setting>,
}

#[derive(Deserialize)]
pub enum Setting {
    #[serde(rename = "hostname")]
    Hostname(String),
    #[serde(rename = "port")]
    Port(String),
    #[serde(rename = "socketType")]
    SocketType(String),
    #[serde(rename = "username")]
    Username(String),
    #[serde(rename = "authentication")]
    Authentication(String),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub struct OAuth2 {
    #[serde(rename = "$value", default)]
    pub parts: Vec<OAuth2Part>,
}

#[derive(Deserialize)]
pub enum OAuth2Part {
    #[serde(rename = "issuer")]
    Issuer(String),
    #[serde(other)]
    Other,
}
